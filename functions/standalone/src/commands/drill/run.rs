//! One drill of one machine: restore, check, clean up, report.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use stillpoint_jobs::Job;
use stillpoint_model::{DiskName, Error, ItemName, Result};
use stillpoint_runtime::host_name;
use stillpoint_vault::Point;
use tokio::runtime::Handle;

use super::{
    Done,
    checks::{self, Checked, Outcome, Restored},
    ground::Ground,
    place::Place,
    plan::Drill,
    report::{Objective, Report, RestoreReport, Verdict},
};
use crate::{
    args::Format,
    commands::{
        duration_ms, outcome_of,
        restore::{Places, Wanted, restore_until},
    },
    interrupt::Interrupt,
    session::Session,
    when,
};

/// Where the disks are in a drill's folder, apart from what checks write.
const DISKS: &str = "disks";

pub async fn one(
    session: &Session,
    drill: &Drill,
    machine: &ItemName,
    ground: &Ground,
    interrupt: &mut Interrupt,
) -> Result<Done> {
    let started = session.vault.clock().now();
    // Read first: a store that goes away in between leaves a report that can be signed.
    let key_slots = session.vault.key_slots().await?.into_iter().map(|(_, slot)| slot).collect();
    let place = Place::new(&ground.into, || session.vault.ulid().to_string())?;
    let point = when::resolve(&session.vault, machine, &drill.point).await;
    let restored = match &point {
        Ok(point) => restore_into(session, machine, point, &place, interrupt).await,
        Err(error) => RestoreReport::failed(error),
    };
    if interrupt.heard() {
        return Err(given_up());
    }
    let point = point.ok();
    let checked = match (&point, restored.outcome) {
        (Some(point), Outcome::Passed) => check(session, drill, machine, point.clone(), &restored, &place, interrupt).await?,
        _ => checks::none(&drill.checks),
    };
    let left_behind = place.remove().err().map(|error| error.one_line());
    let mut report = Report {
        objective: drill.objective.map(|objective| met(objective, &restored)),
        left_behind,
        key_slots,
        ..report(session, drill, machine, (point.as_ref(), restored, checked), started)
    };
    report.verdict = report.judge();
    let (document, page) = report.write(&session.vault, &ground.reports)?;
    Ok(Done { report, document, page })
}

fn given_up() -> Error {
    Error::fenced("interrupted by the operator; the drill has no report")
}

async fn restore_into(
    session: &Session,
    machine: &ItemName,
    point: &Point,
    place: &Place,
    interrupt: &mut Interrupt,
) -> RestoreReport {
    let wanted = Wanted {
        name: machine.clone(),
        point: point.id.to_string(),
        places: Places::Folder(place.folder().join(DISKS), Format::Raw),
        overwrite: false,
        limits: None,
    };
    match restore_until(session, wanted, interrupt).await {
        Err(error) => RestoreReport::failed(&error),
        Ok(job) => RestoreReport { job: Some(job.id), duration_ms: Some(duration_ms(&job)), ..of_job(&job) },
    }
}

fn of_job(job: &Job) -> RestoreReport {
    let outcome = match outcome_of(job) {
        Err(error) => return RestoreReport::failed(&error),
        Ok(outcome) => outcome,
    };
    RestoreReport {
        outcome: Outcome::Passed,
        reason: None,
        job: None,
        duration_ms: None,
        disks: outcome.disks.clone(),
        written_bytes: outcome.disks.iter().filter_map(|disk| disk.written_bytes).sum(),
        warnings: outcome.warnings.clone(),
    }
}

async fn check(
    session: &Session,
    drill: &Drill,
    machine: &ItemName,
    point: Point,
    restore: &RestoreReport,
    place: &Place,
    interrupt: &mut Interrupt,
) -> Result<Vec<Checked>> {
    let stopped = Arc::new(AtomicBool::new(false));
    let disks: Vec<(DiskName, PathBuf)> = restore
        .disks
        .iter()
        .map(|disk| (disk.name.clone(), place.folder().join(DISKS).join(format!("{}.{}", disk.name, Format::Raw.as_str()))))
        .collect();
    let restored = Restored {
        vault: session.vault.clone(),
        handle: Handle::current(),
        machine: machine.clone(),
        point,
        folder: place.folder().to_owned(),
        disks,
        script: drill.script.clone(),
        boot: drill.boot.clone(),
        stopped: Arc::clone(&stopped),
    };
    let wanted = drill.checks.clone();
    let mut work = tokio::task::spawn_blocking(move || checks::all(&restored, &wanted));
    let done = match interrupt.until(&mut work).await {
        Some(done) => done,
        None => {
            // What a check has started ends before its folder goes.
            stopped.store(true, Ordering::Relaxed);
            drop(work.await);
            return Err(given_up());
        }
    };
    done.map_err(|error| Error::internal("a check ended").with_source(error))?
}

fn met(objective: Duration, restored: &RestoreReport) -> Objective {
    let wanted = u64::try_from(objective.as_millis()).unwrap_or(u64::MAX);
    let met = restored.outcome == Outcome::Passed && restored.duration_ms.is_some_and(|took| took <= wanted);
    Objective { duration_ms: wanted, met }
}

/// All but the objective, the verdict, and what the signature needs.
fn report(
    session: &Session,
    drill: &Drill,
    machine: &ItemName,
    (point, restore, checks): (Option<&Point>, RestoreReport, Vec<Checked>),
    started: Timestamp,
) -> Report {
    Report {
        id: session.vault.ulid().to_string(),
        vault: session.vault.identity().id,
        url: session.vault.store().url().to_string(),
        from: drill.from.clone().unwrap_or_else(|| "primary".to_owned()),
        plan: drill.plan.clone(),
        machine: machine.clone(),
        point: point.map(|point| point.id),
        instant: point.map(|point| point.instant),
        host: host_name(),
        operator: operator(),
        program: format!("stillpoint {}", env!("CARGO_PKG_VERSION")),
        started,
        ended: session.vault.clock().now(),
        verdict: Verdict::Failed,
        restore,
        objective: None,
        checks,
        left_behind: None,
        key_slots: Vec::new(),
        page: String::new(),
    }
}

/// Who has called, as far as the environment tells.
fn operator() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    named.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()))
}
