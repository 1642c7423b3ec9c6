//! A year of hourly points of fifty machines under a simulated clock, pruned once at the end: how long the preview and the real
//! prune take, and that they agree point by point. The vault lies in memory; all 438,000 points are records of their own.
//!
//! `cargo run --release -p stillpoint-tests --example retention_year [-- MACHINES]`

#[path = "../tests/retention/records.rs"]
mod records;

use std::{
    collections::BTreeSet,
    io::{Write, stdout},
    time::Instant,
};

use serde_json::json;

use records::{Estate, HOUR_MS, count};

const MACHINES: usize = 50;
const HOURS: usize = 365 * 24;

fn say(what: &str, since: Instant) {
    drop(writeln!(stdout(), "{what}: {:.1} s", since.elapsed().as_secs_f64()));
}

fn main() {
    let machines = std::env::args().nth(1).map_or(MACHINES, |text| text.parse().expect("a number of machines"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(machines));
}

async fn run(machines: usize) {
    let retention = json!({ "daily": 14, "weekly": 8, "monthly": 12, "yearly": 3, "keep_last": 24 });
    let started = Instant::now();
    let estate = Estate::new(1, machines, retention, json!([{ "every": "1h" }])).await;
    estate.commit_each(HOUR_MS, HOURS).await;
    say(&format!("{} points of {machines} machines committed", machines * HOURS), started);

    let started = Instant::now();
    let preview = estate.restart().await.preview().await;
    say(&format!("preview in a new process, {} points to go", preview.len()), started);

    let started = Instant::now();
    let job = estate.restart().await.prune().await;
    say(&format!("prune in a new process, {} tombstones written", count(&job, "tombstoned")), started);

    let started = Instant::now();
    let deleted: BTreeSet<_> = estate.deleted().await;
    assert_eq!(deleted, preview, "prune did what the preview said, point by point");
    assert!(estate.restart().await.preview().await.is_empty(), "and a second one has nothing to do");
    say("compared point by point, and previewed again", started);
}
