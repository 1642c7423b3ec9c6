//! Machines under policies, in a world whose clock stands at 2026-01-01T06:00Z.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use stillpoint_jobs::{Carrier, Job, Operation};
use stillpoint_model::{Extent, ItemName, Subject, policy::Policy};
use stillpoint_ports::{Clock, DiskSource};
use stillpoint_testkit::{Disk, ITEM_PLATFORM, SITE, World};
use stillpoint_vault::Item;

pub fn machine(number: usize) -> ItemName {
    format!("m-{number:04}").parse().unwrap()
}

/// A policy for all machines tagged with its name.
pub fn policy(name: &str, schedule: &str, limits: &str) -> Policy {
    let text = format!(
        "name = \"{name}\"\n[applies_to]\ntags = {{ group = \"{name}\" }}\n[schedule]\n{schedule}\n[retention]\ndaily = 7\n{limits}"
    );
    stillpoint_policy_file::from_toml(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Adds machine number `number` to a group, with one small disk.
pub async fn add(world: &World, number: usize, group: &str) {
    add_at(world, number, group, SITE).await;
}

pub async fn add_at(world: &World, number: usize, group: &str, site: &str) {
    let name = machine(number);
    let mut disk = Disk::new(1 << 20);
    disk.write_noise(Extent::new(0, 4096), number as u64);
    world.platform.put(&format!("{name}/os"), disk);
    let source = DiskSource { name: "os".parse().unwrap(), location: format!("{name}/os") };
    let mut item = Item::new(name, ITEM_PLATFORM, site, vec![source], world.clock.now());
    item.tags = BTreeMap::from([("group".to_owned(), group.to_owned())]);
    world.vault().write_item(&item, true).await.unwrap();
}

/// A world with `count` machines under one policy.
pub async fn world(seed: u64, count: usize, schedule: &str, limits: &str) -> World {
    let world = World::new(seed).await.unwrap();
    world.vault().write_policy(&policy("all", schedule, limits)).await.unwrap();
    for number in 0..count {
        add(&world, number, "all").await;
    }
    world
}

/// Sets the clock.
pub fn set(world: &World, instant: &str) {
    let to: Timestamp = instant.parse().unwrap();
    world.clock.jump(to.as_millisecond() - world.clock.now().as_millisecond());
}

pub fn pass(world: &World, time: SignedDuration) {
    world.clock.jump(i64::try_from(time.as_millis()).unwrap());
}

/// All backup jobs, oldest first, with the machine.
pub async fn backups(world: &World) -> Vec<(Subject, Job)> {
    let mut found = Vec::new();
    for listing in world.engine.jobs().await.unwrap() {
        let job = world.engine.job(listing.id).await.unwrap();
        assert_eq!(job.request.carrier, Carrier::Process);
        if matches!(job.request.what, Operation::Backup { .. }) {
            found.push((job.request.what.subject(), job));
        }
    }
    found
}

/// How many backups each machine had.
pub async fn counts(world: &World) -> BTreeMap<Subject, usize> {
    let mut counts = BTreeMap::new();
    for (machine, _) in backups(world).await {
        *counts.entry(machine).or_default() += 1;
    }
    counts
}
