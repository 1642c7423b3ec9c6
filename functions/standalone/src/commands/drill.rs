//! `drill`: restores that prove themselves, and go again.

mod alarm;
mod checks;
mod ground;
mod list;
mod notes;
mod outside;
mod page;
mod place;
mod plan;
mod planned;
mod prepared;
mod report;
mod run;
pub mod scheduled;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::{Value, json};
use stillpoint_model::{Error, Result};

use crate::{
    args::{DrillRun, Global},
    failure,
    interrupt::Interrupt,
    key, keyfile, output,
    session::Session,
};
use checks::Outcome;
use ground::Ground;
pub use list::list;
use notes::Notes;
use plan::{Choice, Drill};
use planned::Planned;
use prepared::Prepared;
use report::{Report, Verdict};

/// A drill that is over: its report, and where that and its page are.
struct Done {
    report: Report,
    document: PathBuf,
    page: PathBuf,
}

pub async fn run(global: Global, args: DrillRun) -> Result<ExitCode> {
    let mut interrupt = Interrupt::listen()?;
    let drills = match &args.plan {
        None => vec![Drill::of_names(&args)?],
        Some(plan) => {
            let of_entry = |entry| Drill::of_entry(entry, plan);
            plan::entries(plan)?.into_iter().map(of_entry).collect::<Result<_>>()?
        }
    };
    // All that can be refused is refused before the first restore.
    let mut prepared = Vec::new();
    for drill in drills {
        let failing = match &drill.choice {
            Choice::Names(_) => BTreeMap::new(),
            Choice::Planned(entry) => Notes::read(&args.reports, &entry.name)?.map(|notes| notes.failing()).unwrap_or_default(),
        };
        prepared.push(Prepared::new(global.clone(), drill, &failing).await?);
    }
    let ground = Ground::new(args.into.as_deref(), &args.reports)?;
    let _lock = match &args.plan {
        None => None,
        Some(_) => Some(notes::lock(&ground.reports)?.ok_or_else(|| {
            Error::conflict(format!("another process does drills of plans with reports in {}", ground.reports.display()))
        })?),
    };
    ground.clear(prepared.iter().map(|one| &one.session)).await?;
    let home = match &args.plan {
        None => None,
        Some(_) => home(&global).await,
    };
    let tell = |done: &Done| {
        if !global.json {
            tell(done);
        }
    };
    let mut all = Vec::new();
    for one in &prepared {
        all.extend(each(one, home.as_ref(), &ground, &tell, &mut interrupt).await?);
    }
    drop(ground);
    finish(&global, &all)
}

/// The vault that plans are about, which is lost in the worst case.
async fn home(global: &Global) -> Option<Session> {
    let opened = Session::open(global.clone()).await;
    opened.inspect_err(|error| output::complain(&format!("warning: there are no alarms: {}", error.one_line()))).ok()
}

async fn each(
    prepared: &Prepared,
    home: Option<&Session>,
    ground: &Ground,
    tell: &dyn Fn(&Done),
    interrupt: &mut Interrupt,
) -> Result<Vec<Done>> {
    let Choice::Planned(entry) = &prepared.drill.choice else {
        let mut all = Vec::new();
        for machine in &prepared.machines {
            let done = run::one(&prepared.session, &prepared.drill, machine, ground, interrupt).await?;
            tell(&done);
            all.push(done);
        }
        return Ok(all);
    };
    let vault = home.unwrap_or(&prepared.session).vault.identity().id;
    let notes = Notes::of(&ground.reports, vault, entry, prepared.session.vault.clock().now())?;
    let planned = Planned { plan: entry.name.clone(), notes, home, reports: &ground.reports, tell };
    planned.carry_out(Ok((prepared, ground)), interrupt).await
}

fn tell(done: &Done) {
    let Report { machine, verdict, restore, checks, objective, .. } = &done.report;
    let took = restore.duration_ms.unwrap_or(0) as f64 / 1000.0;
    let written = output::bytes(restore.written_bytes);
    output::line(&format!("{machine}: {}, {written} restored in {took:.1} s", verdict.as_str()));
    for checked in checks {
        output::line(&format!("  {}: {}, {}", checked.check, checked.outcome.as_str(), checked.summary));
        if checked.outcome == Outcome::Failed {
            checked.details.iter().for_each(|line| output::line(&format!("    {line}")));
        }
    }
    if let Some(objective) = objective {
        let met = if objective.met { "met" } else { "missed" };
        output::line(&format!("  objective of {:.1} s: {met}", objective.duration_ms as f64 / 1000.0));
    }
    output::line(&format!("  {}", done.document.display()));
}

fn finish(global: &Global, all: &[Done]) -> Result<ExitCode> {
    if global.json {
        let drills: Vec<Value> = all.iter().map(document).collect::<Result<_>>()?;
        output::json(&json!({ "drills": drills }))?;
    } else if all.is_empty() {
        output::line("no machine is due today");
    }
    let failed: Vec<&Report> = all.iter().map(|done| &done.report).filter(|report| report.verdict == Verdict::Failed).collect();
    for report in &failed {
        output::complain(&format!("drill of {} failed: {}", report.machine, report.why()));
    }
    let is_late = all.iter().any(|done| done.report.verdict == Verdict::ObjectiveMissed);
    Ok(match (failed.is_empty(), is_late) {
        (false, _) => ExitCode::from(failure::FAILED),
        (true, true) => ExitCode::from(failure::WARNINGS),
        (true, false) => ExitCode::SUCCESS,
    })
}

/// A report for `--json`, without what only its signature needs.
fn document(done: &Done) -> Result<Value> {
    let mut document = plain(&done.report)?;
    document["report"] = json!(done.document);
    document["page"] = json!(done.page);
    Ok(document)
}

fn plain(report: &Report) -> Result<Value> {
    let mut document = serde_json::to_value(report).map_err(|error| Error::internal("cannot write JSON").with_source(error))?;
    if let Some(fields) = document.as_object_mut() {
        fields.retain(|name, _| name != "key_slots" && name != "page");
    }
    Ok(document)
}

/// `drill verify`.
pub fn verify(global: &Global, path: &Path) -> Result<ExitCode> {
    let (report, has_page) = report::open(path, |vault| keyfile::read(&key::path(global, vault)?, vault))?;
    if global.json {
        let mut document = plain(&report)?;
        document["authentic"] = json!(true);
        document["has_page"] = json!(has_page);
        output::json(&document)?;
        return Ok(ExitCode::SUCCESS);
    }
    let beside = if has_page { ", and so is the page beside it" } else { "; there is no page beside it" };
    output::line(&format!("authentic, signed with a key of vault {}{beside}", report.vault));
    let point = report.point.map_or_else(|| "no point".to_owned(), |point| format!("point {point}"));
    output::line(&format!("drill of {}, {point}, at {:.0}: {}", report.machine, report.ended, report.verdict.as_str()));
    Ok(ExitCode::SUCCESS)
}
