//! `stillpoint serve`: the timer, all functions and the operator's commands on one host.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use stillpoint_tests::{
    Host, Lab, PATIENCE,
    disk::{self, MIB},
    text,
};

const POLICY: &str =
    "name = \"each-minute\"\n[applies_to]\ntags = { env = \"prod\" }\n[schedule]\nevery = \"1m\"\n[retention]\nkeep_last = 2\n";

fn installation(lab: &Lab) -> Host {
    let host = lab.host_with_vault();
    let image = lab.path("os.raw");
    disk::full(&image, 24 * MIB, 5);
    host.run(&["machine", "add", "web-01", "--tag", "env=prod", "--disk", &format!("os={}", image.display())]).ok();
    let policy = lab.path("policy.toml");
    std::fs::write(&policy, POLICY).expect("the policy can be written");
    host.run(&["policy", "apply", &lab.arg("policy.toml")]).ok();
    host
}

/// Points of the machine, and its jobs that have not ended.
fn state(host: &Host) -> (Vec<Value>, usize) {
    let points = host.json(&["points", "web-01"])["points"].as_array().cloned().unwrap_or_default();
    let jobs = host.json(&["jobs"])["jobs"].as_array().cloned().unwrap_or_default();
    let under_way = jobs.iter().filter(|job| !text(job, "/state").starts_with("completed")).count();
    (points, under_way)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn scheduled_backups_run_through_a_kill_and_restore_byte_for_byte() {
    let lab = Lab::new();
    let host = installation(&lab);
    let first = host.bound_to_us().spawn(&["serve", "--tick", "1s"]);
    until("the first scheduled point", || !state(&host).0.is_empty());
    assert!(first.kill().signal.is_some());
    // Two on the same host are no harm: each job is one's.
    let second = host.bound_to_us().spawn(&["serve", "--tick", "1s"]);
    let third = host.bound_to_us().spawn(&["serve", "--tick", "1s"]);
    let before = state(&host).0.len();
    until("a point after the kill", || {
        let (points, under_way) = state(&host);
        points.len() > before && under_way == 0
    });
    assert!(second.kill().signal.is_some());
    assert_eq!(third.terminate().code, Some(0), "serve ends by itself when it is told to");
    let (points, _) = state(&host);
    let mut times: Vec<&str> = points.iter().map(|point| text(point, "/time")).map(|time| &time[..16]).collect();
    times.dedup();
    assert_eq!(times.len(), points.len(), "one point a minute: {times:?}");
    assert!(points.iter().all(|point| point["on_demand_until"].is_null()));
    host.run(&["restore", "web-01", "--to", &lab.arg("back")]).ok();
    disk::assert_same(&lab.path("os.raw"), &lab.path("back/os.raw"));
}

#[test]
fn serve_says_what_is_wrong_in_one_line() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let refused = host.set("STILLPOINT_BROKER", "amqp://127.0.0.1:1/x").fails(&["serve"]);
    assert!(refused.contains("leave the broker out"), "{refused}");
    assert_eq!(host.run(&["serve", "--tick", "0s"]).code, Some(2));
}
