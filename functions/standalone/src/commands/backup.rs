use std::process::ExitCode;

use serde_json::{Value, json};
use stillpoint_jobs::{Carrier, Job, Operation, Request};
use stillpoint_model::{Consistency, Error, ItemName, JobId, JobState, Result};
use stillpoint_runtime::{JobLock, begin_backup, host_name};

use super::{duration_ms, exit_code, outcome_of};
use crate::{interrupt::Interrupt, output, session::Session};

pub async fn run(session: &Session, names: Vec<ItemName>, wanted: Consistency, keep: jiff::Span) -> Result<ExitCode> {
    let jobs = backup(session, &names, wanted, keep).await?;
    let outcomes = jobs.iter().map(outcome_of).collect::<Result<Vec<_>>>()?;
    if session.global.json {
        let mut documents: Vec<Value> = jobs.iter().map(|job| document(session, job)).collect::<Result<_>>()?;
        match documents.len() {
            1 => output::json(&documents.remove(0))?,
            _ => output::json(&documents)?,
        }
    } else {
        for (job, outcome) in jobs.iter().zip(&outcomes) {
            output::line(&format!(
                "{}: point {} in {:.1} s; read {}, changed {}, stored {}",
                job.request.what.item(),
                outcome.point.map(|point| point.to_string()).unwrap_or_default(),
                duration_ms(job) as f64 / 1000.0,
                output::bytes(outcome.read_bytes),
                output::bytes(outcome.changed_bytes),
                output::bytes(outcome.stored_bytes)
            ));
            outcome.warnings.iter().for_each(|warning| output::complain(&format!("warning: {warning}")));
        }
    }
    Ok(exit_code(&outcomes))
}

/// Backs the machines up side by side and returns their ended jobs, in order.
pub async fn backup(session: &Session, names: &[ItemName], wanted: Consistency, keep: jiff::Span) -> Result<Vec<Job>> {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let keep_until = now.checked_add(keep).map_err(|error| Error::invalid("--keep is too long").with_source(error))?.timestamp();
    for (position, name) in names.iter().enumerate() {
        if names[..position].contains(name) {
            return Err(Error::invalid(format!("machine {name} is named twice")));
        }
        // What can be refused is refused before there is a job.
        let item = session.vault.item(name).await?;
        session.platforms.get(&item.platform)?.inspect(&item.disks).await?;
    }
    let mut interrupt = Interrupt::listen()?;
    session.take_on_unfinished(&mut interrupt).await?;
    let (mut ids, mut locks, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for item in names {
        let what = Operation::Backup { item: item.clone(), wanted, keep_until: Some(keep_until) };
        let request = Request { what, host: host_name(), carrier: Carrier::Process };
        match begin_backup(&session.engine, request).await {
            Ok(begun) => {
                ids.push(begun.job.id);
                locks.extend(begun.lock);
                events.extend(begun.events);
            }
            Err(error) => {
                give_up(session, &ids, locks, &error).await;
                return Err(error);
            }
        }
    }
    session.run(&ids, events, locks, &mut interrupt).await
}

/// Ends the jobs that were begun before one that could not: the command does all or nothing.
async fn give_up(session: &Session, begun: &[JobId], locks: Vec<JobLock>, why: &Error) {
    let mut events = Vec::new();
    for job in begun {
        // A job that cannot be ended now stays unfinished, and the next command takes it on.
        events.extend(session.engine.stop(*job, JobState::Failed, &why.one_line()).await);
    }
    session.handle(events, locks).await;
}

fn document(session: &Session, job: &Job) -> Result<Value> {
    let outcome = outcome_of(job)?;
    let disks: Vec<Value> =
        outcome.disks.iter().map(|disk| json!({ "name": disk.name, "size_bytes": disk.size_bytes })).collect();
    Ok(json!({
        "job": job.id,
        "point": outcome.point,
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
