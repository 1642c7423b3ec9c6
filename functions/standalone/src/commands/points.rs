use std::process::ExitCode;

use serde_json::{Map, Value, json};
use stillpoint_fleet::Kept;
use stillpoint_model::{ItemName, Result};
use stillpoint_vault::Point;

use super::kept::{self, Outlook};
use crate::{failure, output, session::Session};

/// A point to be shown and what it holds alone.
struct Row<'a> {
    kept: &'a Kept,
    alone_bytes: Option<u64>,
}

pub async fn run(session: &Session, name: &ItemName, all: bool) -> Result<ExitCode> {
    let Outlook { keeping, .. } = Outlook::of(session, name).await?;
    let points: Vec<Point> = keeping.points.iter().map(|kept| kept.point.clone()).collect();
    // Deleted points count: as long as they are there, what they share is shared.
    let alone = session.vault.alone_bytes(&points).await;
    let alone_of = |position: usize| alone.as_ref().ok().map(|alone| alone[position]);
    let rows: Vec<Row<'_>> =
        keeping.points.iter().enumerate().map(|(position, kept)| Row { kept, alone_bytes: alone_of(position) }).collect();
    let (shown, hidden): (Vec<Row<'_>>, Vec<Row<'_>>) =
        rows.into_iter().partition(|row| all || kept::deleted_until(row.kept).is_none());
    if session.global.json {
        let unreadable = keeping
            .unreadable
            .iter()
            .map(|(id, error)| json!({ "id": id, "state": "damaged", "damaged": true, "reason": error.one_line() }));
        let documents: Vec<Value> = shown.iter().map(document).chain(unreadable).collect();
        output::json(&json!({ "points": documents, "deleted_points_not_shown": hidden.len() }))?;
    } else {
        show(&shown);
        if !hidden.is_empty() {
            output::line(&format!("{} deleted points are not shown; see `stillpoint points {name} --all`", hidden.len()));
        }
        for (id, error) in &keeping.unreadable {
            output::complain(&format!("point {id} is damaged: {}", error.one_line()));
        }
    }
    let whole = keeping.unreadable.is_empty() && alone.is_ok();
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(failure::WARNINGS) })
}

fn show(rows: &[Row<'_>]) {
    let cells = |Row { kept, alone_bytes }: &Row<'_>| {
        let Kept { point, verdict, .. } = kept;
        vec![
            point.id.to_string(),
            kept::instant(point.instant),
            point.consistency.obtained.to_string(),
            "vault".to_owned(),
            output::bytes(point.size_bytes()),
            output::bytes(point.stored_bytes),
            alone_bytes.map_or_else(|| "?".to_owned(), output::bytes),
            kept::day(verdict.keep_until),
            verdict.why(),
            (if point.keep_until.is_some() { "on demand" } else { "by policy" }).to_owned(),
            kept::state(kept),
        ]
    };
    let heads = ["POINT", "TIME", "CONSISTENCY", "TIER", ">SIZE", ">STORED", ">ALONE", "KEPT UNTIL", "WHY", "MADE", "STATE"];
    output::table(&heads, rows.iter().map(cells).collect());
}

fn document(Row { kept, alone_bytes }: &Row<'_>) -> Value {
    let point = &kept.point;
    let facts = json!({
        "id": point.id,
        "time": point.instant,
        "tier": "vault",
        "consistency": point.consistency,
        "size_bytes": point.size_bytes(),
        "read_bytes": point.read_bytes,
        "changed_bytes": point.changed_bytes,
        "stored_bytes": point.stored_bytes,
        "alone_bytes": alone_bytes,
        "parent": point.parent,
        "job": point.job,
        "disks": point.disks,
        "warnings": point.warnings,
    });
    let Value::Object(mut fields) = facts else { return facts };
    fields.extend(kept::lasting(kept).into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>());
    Value::Object(fields)
}
