//! What is there at the beginning: a vault, machines, a policy.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use stillpoint_model::{DiskName, Error, Extent, ItemName, Result, policy::Policy};
use stillpoint_ports::{Clock, DiskSource};
use stillpoint_testkit::{Disk, ITEM_PLATFORM, SITE, TestClock, TestRandom, World};
use stillpoint_vault::Item;

use crate::{Faults, platform::FlakyPlatform, report::Tally};

const DISKS_MAX: u64 = 3;
/// Sizes of disks: some chunks, an odd end, more than one map page.
const SIZES: [u64; 4] = [256 << 10, (1 << 20) + 512, 4 << 20, 48 << 20];
const SCHEDULES: [&[&str]; 6] = [
    &["every = \"2h\""],
    &["every = \"4h\""],
    &["every = \"6h\""],
    &["every = \"12h\""],
    // In the hours that clock changes leave out or repeat.
    &["daily = \"02:30\""],
    &["daily = \"01:45\"", "weekly = { days = [\"sun\"], at = \"02:15\" }"],
];
/// Zones whose clocks change, one of them by half an hour.
const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"];

/// A machine and its disks.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) name: ItemName,
    pub(crate) disks: Vec<DiskName>,
}

impl Machine {
    /// Where a disk lies on the platform.
    pub(crate) fn location(&self, disk: &DiskName) -> String {
        format!("{}/{disk}", self.name)
    }

    /// Its record.
    pub(crate) fn item(&self, clock: &dyn Clock) -> Item {
        let source = |disk: &DiskName| DiskSource { name: disk.clone(), location: self.location(disk) };
        let disks = self.disks.iter().map(source).collect();
        let mut item = Item::new(self.name.clone(), ITEM_PLATFORM, SITE, disks, clock.now());
        item.tags = BTreeMap::from([("group".to_owned(), "all".to_owned())]);
        item
    }
}

/// The name of a machine's disk.
pub(crate) fn disk_name(number: u64) -> Result<DiskName> {
    format!("disk-{number}").parse()
}

/// A disk with some bytes on it.
pub(crate) fn disk(random: &TestRandom) -> Disk {
    let mut disk = Disk::new(SIZES[random.below(SIZES.len() as u64) as usize]);
    for _ in 0..=random.below(4) {
        scribble(&mut disk, random);
    }
    disk
}

/// Changes some of a disk's bytes.
pub(crate) fn scribble(disk: &mut Disk, random: &TestRandom) {
    let offset = random.below(disk.size_bytes());
    let extent = Extent::new(offset, (1 + random.below(200_000)).min(disk.size_bytes() - offset));
    match random.below(8) {
        0 => disk.trim(extent),
        1 => disk.write_zeros(extent),
        // One of few contents, so that chunks come back.
        2 => disk.write_noise(extent, random.below(4)),
        _ => disk.write_noise(extent, random.next()),
    }
}

/// A policy for all machines.
pub(crate) fn policy(random: &TestRandom) -> Result<Policy> {
    let runs = SCHEDULES[random.below(SCHEDULES.len() as u64) as usize];
    let zone = ZONES[random.below(ZONES.len() as u64) as usize];
    let schedule: String =
        runs.iter().map(|run| format!("[[schedule]]\n{run}\nwindow = \"1h\"\ntime_zone = \"{zone}\"\n")).collect();
    let (last, daily, weekly) = (1 + random.below(4), 1 + random.below(4), 1 + random.below(2));
    let instant = (last + daily) % 3;
    let text = format!(
        "name = \"all\"\n[applies_to]\ntags = {{ group = \"all\" }}\n{schedule}\
         [retention]\nkeep_last = {last}\ndaily = {daily}\nweekly = {weekly}\n\
         [limits]\ninstant_restore_days = {instant}\n"
    );
    stillpoint_policy_file::from_toml(&text).map_err(|error| Error::invalid(error.to_string()))
}

/// A vault with a policy and machines.
pub(crate) async fn installation(seed: u64, epoch: i64, random: &TestRandom) -> Result<(World, Vec<Machine>)> {
    let world = World::at(seed, TestClock::at(epoch)).await?;
    world.vault().write_policy(&policy(random)?).await?;
    if random.below(2) == 0 {
        world.platform.track();
    }
    let mut machines = Vec::new();
    for number in 0..=random.below(3) {
        let disks = (0..=random.below(DISKS_MAX)).map(disk_name).collect::<Result<_>>()?;
        let machine = Machine { name: format!("vm-{number}").parse()?, disks };
        for name in &machine.disks {
            world.platform.put(&machine.location(name), disk(random));
        }
        world.vault().write_item(&machine.item(&*world.clock), true).await?;
        machines.push(machine);
    }
    Ok((world, machines))
}

/// The connection to the world's hypervisor.
pub(crate) fn platform(world: &World, seed: u64, faults: &Faults) -> Arc<FlakyPlatform> {
    Arc::new(FlakyPlatform {
        inner: Arc::clone(&world.platform),
        random: Arc::new(TestRandom::new(seed)),
        faults: Mutex::new(faults.clone()),
        tally: Mutex::new(Tally::default()),
    })
}
