use std::process::ExitCode;

use serde_json::{Value, json};
use stillpoint_events::Outgoing;
use stillpoint_jobs::{Job, KeptUntil, Operation, Outcome};
use stillpoint_model::{Consistency, Error, ItemName, JobState, Result};
use stillpoint_runtime::{Begun, begin_backup};
use stillpoint_vault::Protection;

use super::{duration_ms, exit_code, outcome_of};
use crate::{interrupt::Interrupt, output, remote, session::Session};

/// What the operator asked for, of each machine.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub consistency: Consistency,
    /// How long the point is kept.
    pub keep: jiff::Span,
    /// How long the snapshot is kept; 0: it is not.
    pub instant_restore_seconds: u32,
}

pub async fn run(session: &Session, names: Vec<ItemName>, wanted: Wanted, detach: bool) -> Result<ExitCode> {
    if detach {
        return self::detach(session, &names, wanted).await;
    }
    let jobs = backup(session, &names, wanted).await?;
    let outcomes = jobs.iter().map(outcome_of).collect::<Result<Vec<_>>>()?;
    if session.global.json {
        let mut documents: Vec<Value> = jobs.iter().map(|job| document(session, job)).collect::<Result<_>>()?;
        match documents.len() {
            1 => output::json(&documents.remove(0))?,
            _ => output::json(&documents)?,
        }
    } else {
        for (job, outcome) in jobs.iter().zip(&outcomes) {
            output::line(&line(job, outcome));
            outcome.warnings.iter().for_each(|warning| output::complain(&format!("warning: {warning}")));
        }
    }
    Ok(exit_code(&outcomes))
}

/// What a backup came to, on one line.
fn line(job: &Job, outcome: &Outcome) -> String {
    let subject = job.request.what.subject();
    let kept = outcome.kept.as_ref().map(|KeptUntil { until, .. }| format!("; its snapshot is kept until {until}"));
    let Some(point) = outcome.point else { return format!("{subject}: no point in the vault{}", kept.unwrap_or_default()) };
    format!(
        "{subject}: point {point} in {:.1} s; read {}, changed {}, stored {}{}",
        duration_ms(job) as f64 / 1000.0,
        output::bytes(outcome.read_bytes),
        output::bytes(outcome.changed_bytes),
        output::bytes(outcome.stored_bytes),
        kept.unwrap_or_default()
    )
}

/// Backs the machines up side by side and returns their ended jobs, in order.
pub async fn backup(session: &Session, names: &[ItemName], wanted: Wanted) -> Result<Vec<Job>> {
    let mut interrupt = Interrupt::listen()?;
    let begun = begin(session, names, wanted, &mut interrupt).await?;
    session.complete(begun, &mut interrupt).await
}

/// Leaves the jobs to the workers.
async fn detach(session: &Session, names: &[ItemName], wanted: Wanted) -> Result<ExitCode> {
    let Some(remote) = &session.remote else {
        return Err(Error::invalid("--detach needs workers: give --broker or set STILLPOINT_BROKER"));
    };
    let begun = begin(session, names, wanted, &mut Interrupt::listen()?).await?;
    let events: Vec<Outgoing> = begun.iter().flat_map(|one| one.events.clone()).collect();
    remote.publish(&events).await?;
    if session.global.json {
        let jobs: Vec<Value> =
            begun.iter().map(|one| json!({ "job": one.job.id, "item": one.job.request.what.subject() })).collect();
        output::json(&json!({ "jobs": jobs }))?;
    } else {
        for one in &begun {
            output::line(&format!("{}: job {}", one.job.request.what.subject(), one.job.id));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the jobs, all or none.
async fn begin(
    session: &Session,
    names: &[ItemName],
    Wanted { consistency: wanted, keep, instant_restore_seconds }: Wanted,
    interrupt: &mut Interrupt,
) -> Result<Vec<Begun>> {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let keep_until = now.checked_add(keep).map_err(|error| Error::invalid("--keep is too long").with_source(error))?.timestamp();
    let mut requests = Vec::with_capacity(names.len());
    for (position, name) in names.iter().enumerate() {
        if names[..position].contains(name) {
            return Err(Error::invalid(format!("machine {name} is named twice")));
        }
        // What can be refused is refused before there is a job.
        let item = session.vault.item(name).await?;
        if item.protection != Protection::Active {
            return Err(Error::invalid(format!(
                "machine {name} is stopped; `stillpoint machine undelete {name}` protects it again"
            )));
        }
        if let Some(remote) = &session.remote {
            remote.check(&item.site).await?;
        }
        // ... at another site only its workers can tell.
        if session.remote.is_none() || remote::is_here(&item.site.parse()?) {
            session.platforms.get(&item.platform)?.inspect(&item.source()).await?;
        }
        let keep_until = Some(keep_until);
        let what = Operation::Backup {
            item: name.clone(),
            wanted,
            keep_until,
            slot: None,
            instant_restore_seconds,
            snapshot_only: false,
        };
        requests.push(session.request(what, &item.site));
    }
    session.take_on_unfinished(interrupt).await?;
    let mut begun = Vec::with_capacity(names.len());
    for request in requests {
        match begin_backup(&session.engine, request).await {
            Ok(one) => begun.push(one),
            Err(error) => {
                give_up(session, begun, &error).await;
                return Err(error);
            }
        }
    }
    Ok(begun)
}

/// Ends the jobs that were begun before one that could not: the command does all or nothing.
async fn give_up(session: &Session, begun: Vec<Begun>, why: &Error) {
    let (mut events, mut locks) = (Vec::new(), Vec::new());
    for one in begun {
        // A job that cannot be ended now stays unfinished, and the next command, or the timer, takes it on.
        events.extend(session.engine.stop(one.job.id, JobState::Failed, &why.one_line()).await);
        locks.extend(one.lock);
    }
    if let Err(error) = session.settle(events, locks).await {
        output::complain(&format!("warning: {}", error.one_line()));
    }
}

fn document(session: &Session, job: &Job) -> Result<Value> {
    let outcome = outcome_of(job)?;
    let disks: Vec<Value> =
        outcome.disks.iter().map(|disk| json!({ "name": disk.name, "size_bytes": disk.size_bytes })).collect();
    Ok(json!({
        "job": job.id,
        "point": outcome.point,
        "kept": outcome.kept,
        "state": job.state(),
        "warnings": outcome.warnings,
        "disks": disks,
        "read_bytes": outcome.read_bytes,
        "changed_bytes": outcome.changed_bytes,
        "stored_bytes": outcome.stored_bytes,
        "requests": outcome.requests,
        // Everything since the vault was opened, the jobs of other machines and those taken on included.
        "command_requests": session.vault.store().requests(),
        "duration_ms": duration_ms(job),
    }))
}
