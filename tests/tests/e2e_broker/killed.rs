//! Workers that die or are stopped in the middle.

use stillpoint_tests::{
    disk,
    servers::rabbitmq,
    text,
    vault_files::{is_marker, is_pack},
};

use crate::plant::{ALL, Plant, UNTIMED, drained};

#[test]
fn a_backup_whose_only_worker_is_killed_is_finished_by_the_next() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let worker = plant.worker(&[&UNTIMED[..], &["--in-flight", "2"]].concat());
    let job = plant.detach();
    plant.has("the first segment is done", is_marker, 1);
    assert_eq!(worker.kill().signal, Some(9));
    let before = plant.objects();
    let next = plant.worker(&UNTIMED);
    plant.completed(&job);
    assert!(plant.unneeded_packs(&job, &before) <= 2, "only what was in hand is stored again");
    drained(&next.terminate());
}

#[test]
fn a_backup_goes_on_when_one_of_two_workers_is_killed() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let [first, second] = [0; 2].map(|_| plant.worker(&[&UNTIMED[..], &["--in-flight", "1"]].concat()));
    let job = plant.detach();
    plant.has("the first pack is stored", is_pack, 1);
    assert_eq!(first.kill().signal, Some(9));
    let before = plant.objects();
    plant.completed(&job);
    assert!(plant.unneeded_packs(&job, &before) <= 1, "only what was in hand is stored again");
    drained(&second.terminate());
}

#[test]
fn a_restore_whose_worker_is_killed_is_finished_by_the_next() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    plant.local.backup("big");
    let of_backup = plant.objects().iter().filter(|name| is_marker(name)).count();
    let worker = plant.worker(&UNTIMED);
    let into = plant.lab.path("restored");
    let command = plant.host.spawn(&["--json", "restore", "big", "--to", &plant.lab.arg("restored")]);
    plant.has("the first segment is written", is_marker, of_backup + 1);
    assert_eq!(worker.kill().signal, Some(9));
    let next = plant.worker(&UNTIMED);
    let report = command.finish().ok().json();
    assert_eq!(text(&report, "/state"), "completed", "{report}");
    assert_eq!(disk::names(&into), ["data.raw", "os.raw"]);
    for (name, original) in plant.named() {
        disk::assert_same(original, &into.join(format!("{name}.raw")));
    }
    drained(&next.terminate());
}

#[test]
fn a_worker_that_is_stopped_ends_what_it_has_in_hand_and_repeats_nothing() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let worker = plant.worker(&[&UNTIMED[..], &["--in-flight", "1"]].concat());
    let job = plant.detach();
    plant.has("the first pack is stored", is_pack, 1);
    drained(&worker.terminate());
    let before = plant.objects();
    let next = plant.worker(&ALL);
    plant.completed(&job);
    assert_eq!(plant.unneeded_packs(&job, &before), 0);
    drained(&next.terminate());
}
