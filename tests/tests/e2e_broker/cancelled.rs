//! Jobs that an operator gives up, and jobs that cannot be done.

use std::fs;

use stillpoint_tests::{disk, servers::rabbitmq, text, vault_files::is_pack};

use crate::plant::{ALL, Plant, UNTIMED, drained};

#[test]
fn a_cancelled_job_gives_its_snapshot_back() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let snapshots = plant.worker(&["snapshot"]);
    let job = plant.detach();
    plant.planned(&node);
    plant.host.run(&["jobs", "cancel", &job]).ok();
    let shown = plant.ended(&job);
    assert_eq!(text(&shown, "/state"), "cancelled", "{shown}");
    plant.nothing_left();
    // Its segments still wait; whoever takes them finds that they are of no use.
    let worker = plant.worker(&ALL);
    plant.host.backup("big");
    assert_eq!(plant.state(&job), "cancelled");
    assert_eq!(plant.host.points("big").len(), 1);
    assert_eq!(plant.host.json(&["dead", "list"])["dead"].as_array().map(Vec::len), Some(0));
    plant.nothing_left();
    drained(&snapshots.terminate());
    drained(&worker.terminate());
}

#[test]
fn ctrl_c_on_a_watching_command_cancels_its_job() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let worker = plant.worker(&["snapshot"]);
    let command = plant.host.spawn(&["--json", "backup", "big"]);
    plant.planned(&node);
    let done = command.interrupt();
    assert!(matches!(done.code, Some(1 | 130)), "{done}");
    done.error();
    let jobs = plant.local.jobs("backup", "big");
    assert_eq!(text(&jobs[0], "/state"), "cancelled", "{jobs:?}");
    plant.nothing_left();
    drained(&worker.terminate());
}

#[test]
fn a_restore_that_is_given_up_leaves_nothing() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    plant.local.backup("big");
    let before = plant.objects().len();
    let command = plant.host.spawn(&["--json", "restore", "big", "--to", &plant.lab.arg("restored")]);
    // Nobody has begun yet: the worker finds both the request and its end.
    crate::plant::until("the job exists", || plant.objects().len() > before);
    let worker = plant.worker(&UNTIMED);
    let done = command.interrupt();
    if matches!(done.code, Some(0)) {
        plant.local.restores("big", "latest", &plant.lab.path("again"), &plant.named());
    } else {
        done.error();
        assert_eq!(disk::names(&plant.lab.path("restored")), [] as [String; 0]);
    }
    drained(&worker.terminate());
}

#[test]
fn a_job_whose_disk_is_gone_fails_with_the_reason() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let job = plant.detach();
    let [(_, os), _] = plant.named();
    let aside = plant.lab.path("aside");
    fs::rename(os, &aside).expect("a disk can be renamed");
    let worker = plant.worker(&ALL);
    let shown = plant.ended(&job);
    assert_eq!(text(&shown, "/state"), "failed", "{shown}");
    assert!(text(&shown, "/reason").contains("os.raw"), "{shown}");
    assert!(!plant.objects().iter().any(|name| is_pack(name)));
    fs::rename(&aside, os).expect("a disk can be renamed");
    plant.host.backup("big");
    plant.nothing_left();
    drained(&worker.terminate());
}
