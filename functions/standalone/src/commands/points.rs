use std::{collections::BTreeMap, process::ExitCode};

use serde_json::{Map, Value, json};
use stillpoint_fleet::Kept;
use stillpoint_jobs::KeptSnapshot;
use stillpoint_model::{ErrorKind, ItemName, MarkKind, PointId, Result};
use stillpoint_vault::{Mark, Point};

use super::{
    instant::{self, Snapshots},
    kept::{self, Outlook},
    replication::Replication,
};
use crate::{failure, output, session::Session};

/// A point to be shown and what it holds alone.
struct Row<'a> {
    kept: &'a Kept,
    alone_bytes: Option<u64>,
    /// Who deleted it, and why.
    tombstone: Option<Mark>,
    /// Why it is held.
    hold: Option<Mark>,
    /// Its snapshot, if that is kept.
    snapshot: Option<KeptSnapshot>,
    /// Where its copy is, where the vault has a replica.
    replication: Option<&'static str>,
}

pub async fn run(session: &Session, name: &ItemName, all: bool) -> Result<ExitCode> {
    // Snapshots first: one whose point is committed meanwhile is found there, too.
    let mut snapshots = Snapshots::of(&session.engine, name).await?;
    let Outlook { keeping, .. } = Outlook::of(session, name).await?;
    let points: Vec<Point> = keeping.points.iter().map(|kept| kept.point.clone()).collect();
    // Deleted points count: as long as they are there, what they share is shared.
    let alone = session.vault.alone_bytes(&points).await;
    let alone_of = |position: usize| alone.as_ref().ok().map(|alone| alone[position]);
    let replication = Replication::look(session, name).await?;
    let (mut shown, mut hidden) = (Vec::new(), 0);
    for (position, kept) in keeping.points.iter().enumerate() {
        let snapshot = snapshots.kept.remove(&kept.point.id);
        if !all && kept::deleted_until(kept).is_some() {
            hidden += 1;
            continue;
        }
        let tombstone = mark(session, name, kept, kept.entry.deleted(), MarkKind::Deleted).await?;
        let hold = mark(session, name, kept, kept.entry.held(), MarkKind::Held).await?;
        let replication = replication.as_ref().map(|replication| replication.state(kept.point.id));
        shown.push(Row { kept, alone_bytes: alone_of(position), tombstone, hold, snapshot, replication });
    }
    if session.global.json {
        let unreadable = keeping
            .unreadable
            .iter()
            .map(|(id, error)| json!({ "id": id, "state": "damaged", "damaged": true, "reason": error.one_line() }));
        let mut documents: BTreeMap<PointId, Value> = shown.iter().map(|row| (row.kept.point.id, document(row))).collect();
        documents.extend(snapshots.kept.iter().map(|(id, kept)| (*id, instant::document(kept))));
        let documents: Vec<Value> = documents.into_values().chain(unreadable).collect();
        output::json(&json!({ "points": documents, "deleted_points_not_shown": hidden }))?;
    } else {
        show(&shown, &snapshots);
        if hidden > 0 {
            output::line(&format!("{hidden} deleted points are not shown; see `stillpoint points {name} --all`"));
        }
        for (id, error) in &keeping.unreadable {
            output::complain(&format!("point {id} is damaged: {}", error.one_line()));
        }
    }
    for (job, error) in &snapshots.damaged {
        output::complain(&format!("nobody knows whether the snapshot of job {job} is kept: {}", error.one_line()));
    }
    if let Some(error) = replication.and_then(|replication| replication.unknown) {
        output::complain(&format!("nobody knows which points are replicated: {}", error.one_line()));
    }
    let whole = keeping.unreadable.is_empty() && alone.is_ok() && snapshots.damaged.is_empty();
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(failure::WARNINGS) })
}

/// The mark with this number, if there is one and it can be read.
async fn mark(session: &Session, name: &ItemName, kept: &Kept, seq: Option<u32>, mark: MarkKind) -> Result<Option<Mark>> {
    let Some(seq) = seq else { return Ok(None) };
    match session.vault.read_mark(name, kept.point.id, seq, mark).await {
        Ok(mark) => Ok(Some(mark)),
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        Err(_) => Ok(None),
    }
}

/// Why a point is kept, or by whom and why it was deleted.
fn why(Row { kept, tombstone, hold, .. }: &Row<'_>) -> String {
    let hold = hold.iter().map(|hold| format!("held: {}", hold.why));
    let tombstone = tombstone.iter().map(|tombstone| format!("deleted by {}: {}", tombstone.by, tombstone.why));
    let own = Some(kept.verdict.why()).filter(|_| kept.entry.deleted().is_none());
    own.into_iter().chain(tombstone).chain(hold).collect::<Vec<_>>().join("; ")
}

fn show(rows: &[Row<'_>], snapshots: &Snapshots) {
    let cells = |row: &Row<'_>| {
        let Row { kept, alone_bytes, snapshot, .. } = row;
        let Kept { point, verdict, .. } = kept;
        vec![
            point.id.to_string(),
            kept::instant(point.instant),
            consistency(point),
            instant::tier(snapshot.as_ref()).to_owned(),
            instant::until(snapshot.as_ref()),
            output::bytes(point.size_bytes()),
            output::bytes(point.stored_bytes),
            alone_bytes.map_or_else(|| "?".to_owned(), output::bytes),
            kept::day(verdict.keep_until),
            why(row),
            (if point.keep_until.is_some() { "on demand" } else { "by policy" }).to_owned(),
            [Some(kept::state(kept)), row.replication.map(str::to_owned)].into_iter().flatten().collect::<Vec<_>>().join(", "),
        ]
    };
    let heads = [
        "POINT",
        "TIME",
        "CONSISTENCY",
        "TIER",
        "SNAPSHOT UNTIL",
        ">SIZE",
        ">STORED",
        ">ALONE",
        "KEPT UNTIL",
        "WHY",
        "MADE",
        "STATE",
    ];
    let mut table: BTreeMap<PointId, Vec<String>> = rows.iter().map(|row| (row.kept.point.id, cells(row))).collect();
    table.extend(snapshots.kept.iter().map(|(id, kept)| (*id, instant::cells(kept))));
    output::table(&heads, table.into_values().collect());
}

fn document(Row { kept, alone_bytes, tombstone, hold, snapshot, replication }: &Row<'_>) -> Value {
    let point = &kept.point;
    let facts = json!({
        "id": point.id,
        "time": point.instant,
        "tier": instant::tier(snapshot.as_ref()),
        "consistency": point.consistency,
        "size_bytes": point.size_bytes(),
        "read_bytes": point.read_bytes,
        "changed_bytes": point.changed_bytes,
        "stored_bytes": point.stored_bytes,
        "alone_bytes": alone_bytes,
        "parent": point.parent,
        "job": point.job,
        "disks": point.disks,
        "frozen_ms": point.frozen_ms,
        "source_compared": point.source_compared(),
        "tracking_resets": point.tracking_resets,
        "warnings": point.warnings,
        "replication": replication,
        "deleted_by": tombstone.as_ref().map(|tombstone| &tombstone.by),
        "deleted_why": tombstone.as_ref().map(|tombstone| &tombstone.why),
        "held_why": hold.as_ref().map(|hold| &hold.why),
    });
    let Value::Object(mut fields) = facts else { return facts };
    fields.extend(kept::lasting(kept).into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>());
    fields.extend(instant::fields(snapshot.as_ref()).map(|(name, value)| (name.to_owned(), value)));
    Value::Object(fields)
}

/// What was reached, and for how long the guest stood still for it.
fn consistency(point: &Point) -> String {
    let obtained = point.consistency.obtained;
    point.frozen_ms.map_or_else(|| obtained.to_string(), |frozen| format!("{obtained}, frozen {frozen} ms"))
}
