use std::process::ExitCode;

use serde_json::{Value, json};
use stillpoint_jobs::{Operation, Rotation};
use stillpoint_model::{ItemName, Result};

use super::{duration_ms, ended_with, outcome_of};
use crate::{output, session::Session};

pub async fn run(session: &Session, name: Option<ItemName>, read: Option<Rotation>) -> Result<ExitCode> {
    if let Some(name) = &name
        && session.vault.point_ids(name).await?.is_empty()
    {
        // Tells a machine without points from a name that was mistyped.
        session.vault.item(name).await?;
    }
    let job = session.task(Operation::Verify { item: name, read }).await?;
    let outcome = outcome_of(&job)?;
    let count = |name: &str| outcome.counts.get(name).copied().unwrap_or(0);
    if session.global.json {
        let mut document = json!({
            "job": job.id,
            "state": job.state(),
            "warnings": outcome.warnings,
            "requests": outcome.requests,
            "duration_ms": duration_ms(&job),
        });
        if let Value::Object(fields) = &mut document {
            fields.extend(outcome.counts.iter().map(|(name, count)| (name.clone(), json!(count))));
        }
        output::json(&document)?;
    } else {
        output::line(&format!(
            "{} points need {} objects; {} packs read, {}; {} findings, {} points damaged",
            count("points"),
            count("objects"),
            count("packs_read"),
            output::bytes(count("read_bytes")),
            count("findings"),
            count("points_damaged")
        ));
    }
    Ok(ended_with(session, &outcome.warnings))
}

/// `all`, or `2/30`: the second of thirty parts.
pub fn part(text: &str) -> std::result::Result<Rotation, String> {
    let parsed = || {
        let (part, of) = text.split_once('/')?;
        let (part, of): (u32, u32) = (part.parse().ok()?, of.parse().ok()?);
        (1..=of).contains(&part).then(|| Rotation { part: part - 1, of })
    };
    let all = (text == "all").then_some(Rotation::ALL);
    all.or_else(parsed).ok_or_else(|| "give all, or a part such as 1/30, from 1/30 to 30/30".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_from_one() {
        assert_eq!(part("all"), Ok(Rotation::ALL));
        assert_eq!(part("1/1"), Ok(Rotation::ALL));
        assert_eq!(part("30/30"), Ok(Rotation { part: 29, of: 30 }));
        for wrong in ["", "0/3", "4/3", "1", "1/0", "-1/3", "1/3/4", "ALL", "a/b"] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }
}
