use std::{collections::BTreeMap, process::ExitCode};

use serde_json::{Value, json};
use stillpoint_collect::{Findings, Margins, preview};
use stillpoint_jobs::Operation;
use stillpoint_model::{ItemName, PointId, Result};

use super::{duration_ms, ended_with, outcome_of};
use crate::{output, session::Session};

pub async fn run(session: &Session, dry_run: bool) -> Result<ExitCode> {
    if dry_run {
        return show(session).await;
    }
    let job = session.task(Operation::Collect).await?;
    let outcome = outcome_of(&job)?;
    if session.global.json {
        output::json(&json!({
            "job": job.id,
            "state": job.state(),
            "counts": outcome.counts,
            "warnings": outcome.warnings,
            "requests": outcome.requests,
            "duration_ms": duration_ms(&job),
        }))?;
    } else {
        say(&outcome.counts, ["freed", "deleted", "condemned"]);
    }
    Ok(ended_with(session, &outcome.warnings))
}

/// Shows what a run would do now.
async fn show(session: &Session) -> Result<ExitCode> {
    let Findings { counts, warnings, freed, condemned } =
        preview(&session.engine, &*session.regions(), &Margins::DEFAULT).await?;
    if session.global.json {
        let points = |points: &[(ItemName, PointId)]| -> Vec<Value> {
            points.iter().map(|(machine, point)| json!({ "machine": machine, "point": point })).collect()
        };
        output::json(&json!({
            "counts": counts,
            "would_free": points(&freed),
            "would_condemn": points(&condemned),
            "warnings": warnings,
        }))?;
    } else {
        let row =
            |fate: &str, (machine, point): &(ItemName, PointId)| vec![machine.to_string(), point.to_string(), fate.to_owned()];
        let rows = freed.iter().map(|point| row("freed now", point));
        let rows: Vec<Vec<String>> = rows.chain(condemned.iter().map(|point| row("condemned", point))).collect();
        if !rows.is_empty() {
            output::table(&["MACHINE", "POINT", "WOULD BE"], rows);
        }
        say(&counts, ["would be freed", "would be deleted", "would be condemned"]);
    }
    Ok(ended_with(session, &warnings))
}

/// Says what was freed, deleted and condemned, or would be.
fn say(counts: &BTreeMap<String, u64>, [freed, deleted, condemned]: [&str; 3]) {
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    if count("overtaken_by_another_run") > 0 {
        output::line("another run of collect was at work, and has done the rest");
    }
    output::line(&format!(
        "{} points {freed}; {} objects with {} of packs {deleted}",
        count("points_freed"),
        count("objects_deleted"),
        output::bytes(count("pack_bytes_deleted"))
    ));
    output::line(&format!(
        "{} points and {} objects with {} of packs {condemned}; a later run deletes what is still not needed then",
        count("points_condemned"),
        count("objects_condemned"),
        output::bytes(count("pack_bytes_condemned"))
    ));
    if count("unfinished_files_removed") > 0 {
        output::line(&format!("{} files that killed writers left unfinished removed", count("unfinished_files_removed")));
    }
    if count("points_reprieved") + count("objects_reprieved") > 0 {
        output::line(&format!(
            "{} points and {} objects condemned earlier are wanted again, and stay",
            count("points_reprieved"),
            count("objects_reprieved")
        ));
    }
    if count("jobs_waited_for") > 0 {
        output::line(&format!(
            "what {} unfinished jobs may need waits for them; see `stillpoint jobs`",
            count("jobs_waited_for")
        ));
    }
}
