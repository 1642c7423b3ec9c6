use std::{process::ExitCode, time::Duration};

use serde_json::{Value, json};
use stillpoint_jobs::{Carrier, Engine, Job, KeptUntil, Operation, OrderId, Request};
use stillpoint_model::{Error, JobId, JobState, Result};
use stillpoint_runtime::{JobLock, host_name};

use super::{duration_ms, estimated_ms, phases};
use crate::{args::Jobs as Command, failure, output, session::Session};

/// Jobs listed; older ones are shown by id.
const LISTED_MAX: usize = 100;
/// How often a watched job is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long another process gets to notice that its job was cancelled.
const CANCEL_LOOKS: u32 = 60;

pub async fn run(session: &Session, command: Option<Command>) -> Result<ExitCode> {
    match command {
        None => list(session).await,
        Some(Command::Show { id }) => show(session, &session.engine.job(id).await?).await,
        Some(Command::Watch { id }) => watch(session, id).await,
        Some(Command::Cancel { id }) => cancel(session, id).await,
    }
}

async fn list(session: &Session) -> Result<ExitCode> {
    let listed = session.engine.jobs().await?;
    let mut jobs = Vec::new();
    for listing in listed.iter().rev().take(LISTED_MAX) {
        match session.engine.job(listing.id).await {
            Ok(job) => jobs.push(job),
            // One damaged ledger must not hide the other jobs.
            Err(error) => output::complain(&error.one_line()),
        }
    }
    jobs.reverse();
    if session.global.json {
        output::json(&json!({ "jobs": jobs.iter().map(summary).collect::<Vec<Value>>() }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |job: &Job| {
        let what = &job.request.what;
        let started = started(job).map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default();
        let reason = job.newest.reason.clone().unwrap_or_default();
        vec![job.id.to_string(), what.as_str().to_owned(), what.subject().to_string(), job.state().to_string(), started, reason]
    };
    output::table(&["JOB", "OPERATION", "MACHINE", "STATE", "STARTED", "REASON"], jobs.iter().map(row).collect());
    Ok(ExitCode::SUCCESS)
}

fn started(job: &Job) -> Option<jiff::Timestamp> {
    i64::try_from(job.id.timestamp_ms()).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
}

fn summary(job: &Job) -> Value {
    let ended = job.state().is_end().then_some(job.newest.at);
    // Both in milliseconds with all digits, so that they also compare as text.
    let shown = |time: jiff::Timestamp| format!("{time:.3}");
    json!({
        "id": job.id,
        "operation": job.request.what.as_str(),
        "item": job.request.what.subject(),
        "state": job.state(),
        "host": job.request.host,
        "started": started(job).map(shown),
        "ended": ended.map(shown),
        "reason": job.newest.reason,
        "tries": job.newest.tries,
        "slot": slot(job),
        "estimated_ms": estimated_ms(job),
        "order": order(job),
    })
}

/// The slot of a schedule that it is for.
fn slot(job: &Job) -> Option<Value> {
    match &job.request.what {
        Operation::Backup { slot: Some(slot), .. } => Some(json!({ "policy": slot.policy, "due": slot.due })),
        _ => None,
    }
}

/// What another system ordered it with.
const fn order(job: &Job) -> Option<&OrderId> {
    if let Operation::Restore { order, .. } = &job.request.what { order.as_ref() } else { None }
}

async fn segments(engine: &Engine, job: &Job) -> Result<(u32, u32)> {
    let total = job.newest.segments.unwrap_or(0);
    let outstanding = if total == 0 { Vec::new() } else { engine.outstanding(job.id, total).await? };
    Ok((total - outstanding.len() as u32, total))
}

/// The snapshot that a backup keeps, also while it is under way.
async fn kept(engine: &Engine, job: &Job) -> Result<Option<KeptUntil>> {
    match engine.kept_snapshot_of(job).await? {
        Some(listing) => Ok(Some((&engine.read_kept(&listing).await?).into())),
        None => Ok(None),
    }
}

async fn show(session: &Session, job: &Job) -> Result<ExitCode> {
    let (done, total) = segments(&session.engine, job).await?;
    let mut document = summary(job);
    if let Value::Object(fields) = &mut document {
        fields.insert("segments".to_owned(), json!({ "done": done, "total": total }));
        fields.insert("duration_ms".to_owned(), json!(duration_ms(job)));
        if let Some(phases) = phases::of(job) {
            fields.insert("phases".to_owned(), json!(phases));
            fields.insert("kept".to_owned(), json!(kept(&session.engine, job).await?));
        }
        if let Some(outcome) = &job.newest.outcome {
            let outcome =
                serde_json::to_value(outcome).map_err(|error| Error::internal("cannot write JSON").with_source(error))?;
            let outcome = outcome.as_object().cloned().unwrap_or_default();
            // What is kept now counts, and not what was when the job ended.
            fields.extend(outcome.into_iter().filter(|(name, _)| name != "kept"));
        }
    }
    if session.global.json {
        output::json(&document)?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows = document.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    rows.for_each(|(name, value)| output::line(&format!("{name:14} {}", text(value))));
    Ok(ExitCode::SUCCESS)
}

async fn watch(session: &Session, id: JobId) -> Result<ExitCode> {
    let mut seen = None;
    loop {
        let job = session.engine.job(id).await?;
        let (done, total) = segments(&session.engine, &job).await?;
        let now = (job.state(), done);
        if seen != Some(now) && !session.global.json {
            let share = if total == 0 { String::new() } else { format!(" {done} of {total} segments") };
            output::line(&format!("{}{share}", job.state()));
        }
        seen = Some(now);
        match job.state() {
            JobState::Completed => return show_end(session, &job, ExitCode::SUCCESS).await,
            JobState::CompletedWithWarnings => return show_end(session, &job, ExitCode::from(failure::WARNINGS)).await,
            JobState::Failed | JobState::Cancelled => {
                let reason = job.newest.reason.unwrap_or_default();
                return Err(Error::internal(format!("job {id} {}: {reason}", now.0)));
            }
            _ if job.request.carrier == Carrier::Process
                && job.request.host == host_name()
                && JobLock::try_acquire(id)?.is_some() =>
            {
                return Err(Error::conflict(format!(
                    "no process works on job {id}; the next command that runs functions takes it on"
                )));
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

async fn show_end(session: &Session, job: &Job, code: ExitCode) -> Result<ExitCode> {
    if session.global.json {
        show(session, job).await?;
    }
    Ok(code)
}

async fn cancel(session: &Session, id: JobId) -> Result<ExitCode> {
    let event = session.engine.stop(id, JobState::Cancelled, "cancelled by the operator").await?;
    let Request { host, carrier, .. } = session.engine.job(id).await?.request;
    if let (Carrier::Broker, Some(remote)) = (carrier, &session.remote) {
        remote.publish(std::slice::from_ref(&event)).await?;
    }
    for _ in 0..CANCEL_LOOKS {
        // The process that works on it gives back what it holds; if none does, or it ends without, this one does.
        if carrier == Carrier::Process
            && host == host_name()
            && let Some(lock) = JobLock::try_acquire(id)?
        {
            session.settle(vec![event.clone()], vec![lock]).await?;
        }
        let job = session.engine.job(id).await?;
        if job.state().is_end() {
            return show(session, &job).await;
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Error::unavailable(format!("job {id} will not be completed any more, but {host} has not given back what it holds yet")))
}
