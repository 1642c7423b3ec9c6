mod anew;
mod chosen;
mod domain;
mod estimate;
mod firmware;
mod instant;
mod many;
mod ordered;
mod replace;

use std::{path::Path, process::ExitCode};

use serde_json::{Value, json};
use stillpoint_jobs::{Job, Operation};
use stillpoint_model::{Error, JobId, Result};
use stillpoint_ports::TargetDisk;
use stillpoint_runtime::begin_job;

pub use anew::{Configuration, Restored, disks_of};
pub use firmware::write as write_variables;
pub use instant::installed;

use super::{duration_ms, ended_with, estimated_ms, exit_code, outcome_of};
use crate::{
    args::{Format, Restore},
    disks,
    folders::Folders,
    interrupt::Interrupt,
    output, remote,
    session::Session,
};
use chosen::Chosen;
pub use chosen::{Places, Wanted};
use estimate::Estimate;

pub async fn run(session: &Session, args: Restore) -> Result<ExitCode> {
    if let Some(list) = &args.many {
        return many::run(session, list, &args).await;
    }
    if let Some(order) = &args.order {
        return ordered::run(session, order).await;
    }
    if args.replace || args.discard_old {
        return replace::run(session, args).await;
    }
    if args.new_name.is_some()
        && let Some(hypervisor) = domain::hypervisor(session, args.name()?).await?
    {
        return domain::run(session, args, hypervisor).await;
    }
    let wanted = Wanted {
        name: args.name()?.clone(),
        point: args.point.clone(),
        places: match &args.to {
            Some(folder) => Places::Folder(folder.clone(), args.format.unwrap_or(Format::Raw)),
            None => Places::Disks(args.disk.clone()),
        },
        overwrite: args.overwrite,
        limits: None,
    };
    if args.estimate {
        return estimate::run(session, wanted).await;
    }
    let anew = match (&args.to, &args.new_name) {
        (Some(folder), Some(_)) if disks::is_store(folder) => {
            return Err(Error::invalid("a machine is made again in a folder of this host, not in a store; leave out --as"));
        }
        (Some(folder), Some(name)) => Some(anew::Anew::new(session, name.clone(), folder, &args)?),
        _ => None,
    };
    let anew = match anew {
        Some(anew) if args.instant => return instant::run(session, args, anew).await,
        Some(anew) => Some(anew.unless_there(args.overwrite)?),
        None => None,
    };
    let job = restore(session, wanted).await?;
    match anew {
        Some(anew) => {
            let (fields, warnings) = anew.write(session, outcome_of(&job)?, job.request.what.item()).await?;
            report(session, &job, fields, &warnings)
        }
        None => report(session, &job, json!({}), &[]),
    }
}

/// Says what was restored; `more` goes into the document.
fn report(session: &Session, job: &Job, more: Value, warnings: &[String]) -> Result<ExitCode> {
    let outcome = outcome_of(job)?;
    let tier = if matches!(job.request.what, Operation::Restore { snapshot: Some(_), .. }) { "snapshot" } else { "vault" };
    if session.global.json {
        let mut document = json!({
            "job": job.id,
            "point": outcome.point,
            "tier": tier,
            "state": job.state(),
            "disks": outcome.disks,
            "duration_ms": duration_ms(job),
            "estimated_ms": estimated_ms(job),
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            document[name] = value.clone();
        }
        output::json(&document)?;
    } else {
        for disk in &outcome.disks {
            let path = disk.path.clone().unwrap_or_default();
            let written = output::bytes(disk.written_bytes.unwrap_or(0));
            output::line(&format!("{}: {path}, {} ({written} written)", disk.name, output::bytes(disk.size_bytes)));
        }
        let from = if tier == "vault" { "the vault" } else { "its kept snapshot" };
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let expected = estimated_ms(job).map(|ms| format!(" ({:.1} s were expected)", seconds(ms))).unwrap_or_default();
        output::line(&format!("restored from {from} in {:.1} s{expected}", seconds(duration_ms(job))));
        if let Some(script) = more["script"].as_str() {
            output::line(&format!("start it with {script}"));
        }
        if let Some(domain) = more["domain"].as_str() {
            output::line(&format!("domain {domain} is defined; start it with `virsh start {domain}`"));
        }
        if let Some(file) = more["firmware_variables"].as_str() {
            output::line(&format!("firmware variables: {file}"));
        }
        for old in more["replaced"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            output::line(&format!("the old disk is {old}"));
        }
    }
    if warnings.is_empty() { Ok(exit_code(&[outcome])) } else { Ok(ended_with(session, warnings)) }
}

/// Makes the folder to restore to.
fn make_folder(path: &Path) -> Result<Folders> {
    let missing = Folders::missing(path);
    std::fs::create_dir_all(path)
        .map_err(|error| Error::from(error).context(format!("cannot make folder {}", path.display())))?;
    Ok(missing)
}

/// Restores and returns the ended job.
pub async fn restore(session: &Session, wanted: Wanted) -> Result<Job> {
    restore_until(session, wanted, &mut Interrupt::listen()?).await
}

/// The same, for a command that goes on afterwards.
pub async fn restore_until(session: &Session, wanted: Wanted, interrupt: &mut Interrupt) -> Result<Job> {
    let chosen = Chosen::find(session, &wanted).await?;
    let disks = chosen.targets(&wanted)?;
    carry_out(session, wanted, chosen, disks, interrupt).await
}

async fn carry_out(
    session: &Session,
    wanted: Wanted,
    chosen: Chosen,
    disks: Vec<TargetDisk>,
    interrupt: &mut Interrupt,
) -> Result<Job> {
    session.take_on_unfinished(interrupt).await?;
    let estimate = Estimate::if_worth_it(session, &chosen, &disks).await?;
    let (what, _made) = operation(session, wanted, &chosen, disks, estimate.map(|estimate| estimate.duration_ms())).await?;
    let site = remote::site(&session.global)?;
    let begun = begin_job(&session.engine, session.request(what, site.as_str())).await?;
    let ended = session.complete(vec![begun], interrupt).await?.pop();
    ended.ok_or_else(|| Error::internal("a job has no result"))
}

/// The job to be, after a look at everything that can be refused before there is one; at another site only its workers can tell.
async fn operation(
    session: &Session,
    wanted: Wanted,
    chosen: &Chosen,
    disks: Vec<TargetDisk>,
    estimated_ms: Option<u64>,
) -> Result<(Operation, Option<Folders>)> {
    let site = remote::site(&session.global)?;
    if let Some(remote) = &session.remote {
        remote.check(site.as_str()).await?;
    }
    let here = session.remote.is_none() || remote::is_here(&site);
    let made = match &wanted.places {
        Places::Folder(folder, _) if here && !disks::is_store(folder) => Some(make_folder(folder)?),
        _ => None,
    };
    if here {
        // Any id serves, because none is written anywhere.
        session.target.check(JobId::new(session.vault.ulid()), &disks).await?;
    }
    let (point, snapshot) = (chosen.point, chosen.snapshot);
    Ok((Operation::Restore { item: wanted.name, point, disks, snapshot, estimated_ms, order: None }, made))
}
