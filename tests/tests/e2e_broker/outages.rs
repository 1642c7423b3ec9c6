//! A broker that dies or forgets, and a vault that is away for a while.

use std::{fs, thread, time::Duration};

use stillpoint_tests::{
    servers::{Ending, rabbitmq, rabbitmq_alone},
    vault_files::is_marker,
};

use crate::plant::{ALL, Plant, UNTIMED, drained};

#[test]
fn a_job_survives_a_broker_that_is_killed_and_started_again() {
    let mut node = rabbitmq_alone();
    let plant = Plant::new(&node);
    let worker = plant.worker(&[&UNTIMED[..], &["--in-flight", "1"]].concat());
    let job = plant.detach();
    plant.has("the first segment is done", is_marker, 1);
    node.restart(Ending::Killed);
    plant.completed(&job);
    drained(&worker.terminate());
}

#[test]
fn a_job_whose_messages_are_all_lost_is_ended_by_the_timer() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let first = plant.detach();
    node.purge(&plant.vhost);
    let worker = plant.worker(&ALL);
    plant.completed(&first);
    drained(&worker.terminate());
    // ... and once more, with the plan made and the segments lost.
    let snapshots = plant.worker(&["snapshot"]);
    let second = plant.detach();
    plant.planned(&node);
    node.purge(&plant.vhost);
    drained(&snapshots.terminate());
    let worker = plant.worker(&ALL);
    plant.completed(&second);
    drained(&worker.terminate());
}

#[test]
fn a_vault_that_is_away_for_a_while_delays_a_job_and_does_not_fail_it() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let worker = plant.worker(&[&ALL[..], &["--in-flight", "1"]].concat());
    let job = plant.detach();
    plant.has("the first segment is done", is_marker, 1);
    let (vault, away) = (plant.local.vault().to_owned(), plant.lab.path("away"));
    fs::rename(&vault, &away).expect("a folder can be renamed");
    thread::sleep(Duration::from_secs(3));
    assert!(!vault.exists(), "nobody makes the vault's folder anew where it is missing");
    fs::rename(&away, &vault).expect("a folder can be renamed");
    plant.completed(&job);
    drained(&worker.terminate());
}
