use std::process::ExitCode;

use serde_json::{Value, json};
use stillpoint_model::{ItemName, Result};
use stillpoint_vault::Point;

use crate::{output, session::Session};

pub async fn run(session: &Session, name: &ItemName) -> Result<ExitCode> {
    let listings = session.vault.points(name).await?;
    if listings.is_empty() {
        // Tells a machine without points from a name that was mistyped.
        session.vault.item(name).await?;
    }
    let readable: Vec<Point> = listings.iter().filter_map(|listing| listing.point.as_ref().ok().cloned()).collect();
    let alone = session.vault.alone_bytes(&readable).await;
    let damaged = listings.len() - readable.len();
    let alone_of = |position: usize| alone.as_ref().ok().map(|alone| alone[position]);
    if session.global.json {
        let mut position = 0;
        let documents = listings.iter().map(|listing| match &listing.point {
            Ok(point) => {
                position += 1;
                document(point, alone_of(position - 1))
            }
            Err(error) => json!({ "id": listing.id, "state": "damaged", "reason": error.one_line() }),
        });
        output::json(&json!({ "points": documents.collect::<Vec<Value>>() }))?;
    } else {
        let row = |(position, point): (usize, &Point)| {
            vec![
                point.id.to_string(),
                point.instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                point.consistency.obtained.to_string(),
                output::bytes(point.size_bytes()),
                output::bytes(point.stored_bytes),
                alone_of(position).map_or_else(|| "?".to_owned(), output::bytes),
                point.keep_until.map(|until| until.strftime("%Y-%m-%d").to_string()).unwrap_or_default(),
            ]
        };
        output::table(
            &["POINT", "TIME", "CONSISTENCY", ">SIZE", ">STORED", ">ALONE", "KEPT UNTIL"],
            readable.iter().enumerate().map(row).collect(),
        );
        for listing in &listings {
            if let Err(error) = &listing.point {
                output::complain(&format!("point {} is damaged: {}", listing.id, error.one_line()));
            }
        }
    }
    Ok(if damaged == 0 && alone.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(crate::failure::WARNINGS) })
}

fn document(point: &Point, alone_bytes: Option<u64>) -> Value {
    json!({
        "id": point.id,
        "time": point.instant,
        "state": "committed",
        "consistency": point.consistency,
        "size_bytes": point.size_bytes(),
        "read_bytes": point.read_bytes,
        "changed_bytes": point.changed_bytes,
        "stored_bytes": point.stored_bytes,
        "alone_bytes": alone_bytes,
        "parent": point.parent,
        "job": point.job,
        "disks": point.disks,
        "keep_until": point.keep_until,
        "warnings": point.warnings,
    })
}
