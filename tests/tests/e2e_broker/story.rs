//! The whole story by workers, beside the same in one process.

use serde_json::Value;
use stillpoint_tests::{Host, Lab, disk, number, servers::rabbitmq, text, vault_files};

use crate::plant::{ALL, Plant, drained};

/// Pages name the packs of earlier points that they draw on, by ids that are drawn anew and compress a little differently.
const STORED_BYTES_APART: u64 = 256;

/// Asserts what must not depend on who carried a job.
fn assert_alike(there: &Value, here: &Value, day: u64) {
    for field in ["/read_bytes", "/changed_bytes"] {
        assert_eq!(number(there, field), number(here, field), "{field} on day {day}");
    }
    let stored = [there, here].map(|report| number(report, "/stored_bytes"));
    let apart = if day == 0 { 0 } else { STORED_BYTES_APART };
    assert!(stored[0].abs_diff(stored[1]) <= apart, "stored on day {day}: {stored:?}");
}

#[test]
fn workers_make_the_same_points_as_one_process() {
    let node = rabbitmq();
    let lab = Lab::new();
    let local = lab.host_with_vault();
    let image = lab.path("os.raw");
    disk::ext4(&image);
    local.add("web-01", &[("os", &image)]);
    let copied = lab.path("copy");
    vault_files::copy(local.vault(), &copied);
    let remote: Host = local.at_vault(&copied).set("STILLPOINT_BROKER", &node.url(&node.vhost()));
    let worker = remote.bound_to_us().spawn(&[&["worker"], &ALL[..]].concat());
    for day in 0..3 {
        if day > 0 {
            disk::edit_ext4(&image, day);
        }
        let (here, there) = (local.backup("web-01"), remote.backup("web-01"));
        assert_alike(&there, &here, day);
        assert_eq!(text(&there, "/state"), text(&here, "/state"), "day {day}");
        let into = lab.path(&format!("restored-{day}"));
        remote.restores("web-01", text(&there, "/point"), &into, &[("os", &image)]);
    }
    assert_eq!(local.points("web-01").len(), remote.points("web-01").len());
    for (day, (here, there)) in (0..).zip(local.points("web-01").iter().zip(&remote.points("web-01"))) {
        assert_alike(there, here, day);
    }
    let check = remote.json(&["vault", "check"]);
    assert_eq!(check["findings"], Value::Array(Vec::new()), "{check}");
    drained(&worker.terminate());
}

#[test]
fn functions_may_be_spread_over_workers() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let parts: [&[&str]; 4] = [&["snapshot"], &["transfer", "--in-flight", "1"], &["transfer"], &["commit", "restore"]];
    let workers = parts.map(|part| plant.worker(part));
    let report = plant.host.backup("big");
    let into = plant.lab.path("restored");
    plant.host.restores("big", text(&report, "/point"), &into, &plant.named());
    plant.nothing_left();
    for worker in workers {
        drained(&worker.terminate());
    }
}
