//! Slots of a policy and tasks of the vault, by workers.

use std::{collections::BTreeSet, fs};

use stillpoint_tests::{number, servers::rabbitmq, text, vault_files::objects_of};

use crate::plant::{ALL, Plant, drained, until};

const POLICY: &str =
    "name = \"minutely\"\n[applies_to]\nnames = [\"big\"]\n[schedule]\nevery = \"1m\"\n[retention]\nkeep_last = 1\n";

#[test]
fn two_workers_timers_make_one_backup_a_slot_and_the_vault_s_tasks_run_on_workers_too() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let words = [&ALL[..], &["prune", "collect", "verify", "notify"]].concat();
    let workers = [plant.worker(&words), plant.worker(&words)];
    fs::write(plant.lab.path("policy.toml"), POLICY).expect("the policy can be written");
    plant.local.run(&["policy", "apply", &plant.lab.arg("policy.toml")]).ok();
    until("a slot's backup is a point", || !plant.local.points("big").is_empty());
    // On demand, so that there is more than one point; then what the timer starts once a day, by hand.
    plant.host.backup("big");
    let pruned = plant.host.json(&["prune"]);
    assert_eq!(text(&pruned, "/state"), "completed", "{pruned}");
    assert_eq!(text(&plant.host.json(&["collect"]), "/state"), "completed");
    let verified = plant.host.json(&["verify", "--read", "all"]);
    assert!(number(&verified, "/packs_read") > 0, "{verified}");
    for worker in workers {
        drained(&worker.terminate());
    }
    let slots = objects_of(plant.local.vault(), |name| name.starts_with("slots/") && name.ends_with("/big.json"));
    let jobs = plant.local.jobs("backup", "big");
    let dues: Vec<&str> = jobs.iter().filter_map(|job| job["slot"]["due"].as_str()).collect();
    assert_eq!(dues.iter().collect::<BTreeSet<_>>().len(), dues.len(), "one job a slot: {dues:?}");
    assert_eq!(slots.len(), dues.len(), "{slots:?} and {dues:?}");
}
