use std::{collections::BTreeSet, process::ExitCode};

use serde_json::{Value, json};
use stillpoint_fleet::{Fleet, Kept};
use stillpoint_jobs::Operation;
use stillpoint_model::{ErrorKind, ItemName, Result, policy::Act};
use stillpoint_vault::{Point, Vault};

use super::{duration_ms, ended_with, kept, outcome_of};
use crate::{output, session::Session};

/// Points of a machine up to which it is looked up what a prune frees: each takes a small read.
const FREED_POINTS_MAX: usize = 500;

pub async fn run(session: &Session, dry_run: bool) -> Result<ExitCode> {
    if dry_run {
        return preview(session).await;
    }
    let job = session.task(Operation::Prune).await?;
    let outcome = outcome_of(&job)?;
    let count = |name: &str| outcome.counts.get(name).copied().unwrap_or(0);
    if session.global.json {
        output::json(&json!({
            "job": job.id,
            "state": job.state(),
            "machines": count("machines"),
            "points": count("points"),
            "tombstoned": count("tombstoned"),
            "warnings": outcome.warnings,
            "requests": outcome.requests,
            "duration_ms": duration_ms(&job),
        }))?;
    } else {
        output::line(&format!(
            "{} of {} points of {} machines deleted softly; see `stillpoint points NAME --all`",
            count("tombstoned"),
            count("points"),
            count("machines")
        ));
    }
    Ok(ended_with(session, &outcome.warnings))
}

/// One machine's points that a prune would delete.
struct Doomed {
    name: ItemName,
    points: Vec<Kept>,
    /// What would be free once they can no longer be undeleted; at most, as other machines may borrow.
    freed_bytes: Option<u64>,
}

/// Shows what a prune would do now.
async fn preview(session: &Session) -> Result<ExitCode> {
    let vault = &session.vault;
    let fleet = Fleet::load(vault).await?;
    let mut entries = vault.all_point_entries().await?;
    let clock = fleet.clock(vault.clock().now(), &entries);
    let mut warnings: Vec<String> = clock.doubt().map(|doubt| doubt.to_string()).into_iter().collect();
    warnings.extend(fleet.damaged.iter().map(|(whose, why)| format!("{whose} cannot be read: {why}")));
    let (mut all, mut doomed) = (0, Vec::new());
    for member in fleet.members.iter().filter(|member| member.is_active()) {
        let name = &member.item.name;
        let keeping = match fleet.keeping(vault, name, entries.remove(name).unwrap_or_default(), &clock).await {
            Ok(keeping) => keeping,
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            Err(error) => {
                warnings.push(format!("machine {name}: {}", error.one_line()));
                continue;
            }
        };
        if !keeping.unreadable.is_empty() {
            warnings.push(format!("{} points of {name} cannot be read", keeping.unreadable.len()));
        }
        all += keeping.points.iter().filter(|kept| matches!(kept.verdict.act, Act::Keep | Act::Prune)).count();
        let freed_bytes = freed_bytes(vault, &keeping.points).await;
        let points: Vec<Kept> = keeping.points.into_iter().filter(|kept| kept.verdict.act == Act::Prune).collect();
        if !points.is_empty() {
            doomed.push(Doomed { name: name.clone(), points, freed_bytes });
        }
    }
    show(session, &doomed, all, &warnings)?;
    Ok(ended_with(session, &warnings))
}

/// Bytes of packs that only points need which are deleted or would be. None where that takes too many reads, or one fails.
async fn freed_bytes(vault: &Vault, points: &[Kept]) -> Option<u64> {
    if points.len() > FREED_POINTS_MAX || !points.iter().any(|kept| kept.verdict.act == Act::Prune) {
        return None;
    }
    let (mut needed, mut doomed) = (BTreeSet::new(), BTreeSet::new());
    for Kept { point, verdict, .. } in points {
        for used in vault.packs_of(point).await.ok()? {
            match verdict.act {
                Act::Keep => drop(needed.insert(used.pack.name.to_string())),
                Act::Prune | Act::StayDeleted | Act::Free => drop(doomed.insert((used.pack.name.to_string(), used.size_bytes))),
            }
        }
    }
    Some(doomed.iter().filter(|(pack, _)| !needed.contains(pack)).map(|(_, bytes)| bytes).sum())
}

fn show(session: &Session, doomed: &[Doomed], all: usize, warnings: &[String]) -> Result<()> {
    let count: usize = doomed.iter().map(|machine| machine.points.len()).sum();
    if session.global.json {
        let machines: Vec<Value> = doomed.iter().map(document).collect();
        return output::json(&json!({ "machines": machines, "points": all, "would_tombstone": count, "warnings": warnings }));
    }
    let row = |name: &ItemName, Kept { point, verdict, .. }: &Kept| {
        vec![name.to_string(), point.id.to_string(), kept::instant(point.instant), verdict.why()]
    };
    let rows = doomed.iter().flat_map(|machine| machine.points.iter().map(|kept| row(&machine.name, kept)));
    output::table(&["MACHINE", "POINT", "TIME", "WHY"], rows.collect());
    let freed: Option<u64> = doomed.iter().map(|machine| machine.freed_bytes).sum();
    let freed = match freed {
        Some(freed) if count > 0 => format!("; at most {} are freed when they can no longer be undeleted", output::bytes(freed)),
        _ => String::new(),
    };
    output::line(&format!("{count} of {all} points would be deleted softly{freed}"));
    Ok(())
}

fn document(Doomed { name, points, freed_bytes }: &Doomed) -> Value {
    let point = |kept: &Kept| {
        let Point { id, instant, stored_bytes, .. } = &kept.point;
        let verdict = &kept.verdict;
        json!({
            "id": id,
            "time": instant,
            "stored_bytes": stored_bytes,
            "keep_until": verdict.keep_until,
            "reasons": verdict.reasons,
            "why": verdict.why(),
        })
    };
    json!({ "machine": name, "points": points.iter().map(point).collect::<Vec<_>>(), "freed_bytes_at_most": freed_bytes })
}
