//! What people and machines do: disks change, operators give commands.

use jiff::{SignedDuration, Timestamp};
use stillpoint_events::Outgoing;
use stillpoint_fleet::Fleet;
use stillpoint_jobs::{Carrier, Engine, KeptSnapshot, Operation, Request};
use stillpoint_model::{Consistency, Error, ItemName, JobState, MarkKind, PointId, Result};
use stillpoint_runtime::{begin_backup, begin_job};
use stillpoint_testkit::{SITE, TestRandom, World};
use stillpoint_vault::{Item, Mark, PointEntry, Protection, Vault};

use crate::installation::{Machine, disk, disk_name, policy, scribble};

/// An operator's command.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Back a machine up; for so many days, where it says so.
    Backup(ItemName, Option<i64>),
    /// Restore one of a machine's points, or kept snapshots, under a folder; the number chooses which.
    Restore(ItemName, u64, String),
    /// Put a machine's disks on record.
    Enlist(Machine),
    /// Change the policy, as the seed wants.
    Edit(u64),
    /// Mark one of a machine's points; the number chooses which.
    Mark(ItemName, u64, MarkKind),
    /// Begin a task of the vault.
    Task(Operation),
    /// Give up a job that has not ended; the number chooses which.
    Cancel(u64),
    /// Stop a machine's protection; delete its points after so many days, where it says so.
    Stop(ItemName, Option<i64>),
    /// Protect a machine again.
    Protect(ItemName),
}

/// The next command, if something other than a disk changes.
pub(crate) fn act(random: &TestRandom, world: &World, machines: &mut [Machine], serial: u64) -> Option<Command> {
    let place = random.below(machines.len() as u64) as usize;
    let machine = machines.get_mut(place)?;
    let name = machine.name.clone();
    let marks = [MarkKind::Deleted, MarkKind::Deleted, MarkKind::Undeleted, MarkKind::Held, MarkKind::Released];
    match random.below(24) {
        0..8 => {
            let disk = machine.disks.get(random.below(machine.disks.len() as u64) as usize)?;
            world.platform.change(&machine.location(disk), |disk| scribble(disk, random));
            None
        }
        8 => {
            let disk = machine.disks.get(random.below(machine.disks.len() as u64) as usize)?;
            let size = 512 * (1 + random.below(8 << 10));
            world.platform.change(&machine.location(disk), |disk| disk.resize(size));
            None
        }
        9 => {
            let number = random.below(3);
            let name = disk_name(number).ok()?;
            match machine.disks.iter().position(|known| *known == name) {
                Some(place) if machine.disks.len() > 1 => drop(machine.disks.remove(place)),
                Some(_) => {}
                None => {
                    world.platform.put(&machine.location(&name), disk(random));
                    machine.disks.push(name);
                }
            }
            Some(Command::Enlist(machine.clone()))
        }
        10 => Some(Command::Edit(random.next())),
        11 => Some(Command::Task([Operation::Prune, Operation::Collect][random.below(2) as usize].clone())),
        12..15 => Some(Command::Backup(name, (random.below(2) == 0).then(|| random.below(20).cast_signed()))),
        15..17 => Some(Command::Restore(name, random.next(), format!("restore-{serial}"))),
        17 => {
            let other = machines.get(random.below(machines.len() as u64) as usize)?.clone();
            clone_disk(random, world, machines.get(place)?, &other);
            None
        }
        18 => Some(Command::Cancel(random.next())),
        19 => Some(Command::Stop(name, (random.below(4) > 0).then(|| random.below(3).cast_signed()))),
        20 => Some(Command::Protect(name)),
        _ => Some(Command::Mark(name, random.next(), marks[random.below(marks.len() as u64) as usize])),
    }
}

/// A machine is installed anew from another one's disk.
fn clone_disk(random: &TestRandom, world: &World, machine: &Machine, other: &Machine) {
    let any = |machine: &Machine| {
        machine.disks.get(random.below(machine.disks.len() as u64) as usize).map(|disk| machine.location(disk))
    };
    if let (Some(to), Some(disk)) = (any(machine), any(other).and_then(|from| world.platform.disk(&from))) {
        world.platform.change(&to, |old| *old = disk);
    }
}

impl Command {
    /// Does it, as the command line does through one process; returns what is to be published.
    pub(crate) async fn run(self, engine: &Engine) -> Result<Vec<Outgoing>> {
        let vault = engine.vault();
        match self {
            Self::Backup(item, days) => {
                let keep_until = days.map(|days| later(vault.clock().now(), days));
                // Two thirds of those that are kept for days keep their snapshots for hours.
                let instant_restore_seconds = days.map_or(0, |days| u32::try_from(days % 3 * 40_000).unwrap_or(0));
                let wanted = Consistency::Crash;
                let what =
                    Operation::Backup { item, wanted, keep_until, slot: None, instant_restore_seconds, snapshot_only: false };
                Ok(begin_backup(engine, request(what)).await?.events)
            }
            Self::Restore(item, number, folder) => {
                let kept = engine.kept_snapshots_of(&item).await?;
                if let Some(listing) = chosen(&kept, number).filter(|_| number % 3 == 0) {
                    let KeptSnapshot { job, point, disks, .. } = engine.read_kept(listing).await?;
                    let disks = World::places_of(&disks, &folder);
                    let what = Operation::Restore { item, point, disks, snapshot: Some(job), estimated_ms: None, order: None };
                    return Ok(begin_job(engine, request(what)).await?.events);
                }
                let points = vault.point_ids(&item).await?;
                let Some(id) = chosen(&points, number) else { return Ok(Vec::new()) };
                let disks = World::places(&vault.point(&item, *id).await?, &folder);
                Ok(begin_job(
                    engine,
                    request(Operation::Restore { item, point: *id, disks, snapshot: None, estimated_ms: None, order: None }),
                )
                .await?
                .events)
            }
            Self::Enlist(machine) => vault.write_item(&machine.item(vault.clock()), true).await.map(|()| Vec::new()),
            Self::Edit(seed) => {
                let policy = policy(&TestRandom::new(seed))?;
                let fleet = Fleet::load(vault).await?;
                fleet.refuse_shortening(vault, &fleet.with_policy(&policy, vault.clock().now())).await?;
                vault.write_policy(&policy).await.map(|_| Vec::new())
            }
            Self::Mark(item, number, kind) => write_mark(engine, &item, number, kind).await.map(|()| Vec::new()),
            Self::Task(what) => Ok(begin_job(engine, request(what)).await?.events),
            Self::Cancel(number) => {
                let unfinished = engine.unfinished().await?;
                let Some(job) = chosen(&unfinished, number) else { return Ok(Vec::new()) };
                Ok(vec![engine.stop(*job, JobState::Cancelled, "cancelled by the operator").await?])
            }
            Self::Stop(item, days) => {
                let since = vault.clock().now();
                let deleted = |days| Protection::Deleted { since, until: later(since, days) };
                protect(vault, &item, days.map_or(Protection::Retained { since }, deleted)).await.map(|()| Vec::new())
            }
            Self::Protect(item) => protect(vault, &item, Protection::Active).await.map(|()| Vec::new()),
        }
    }

    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Backup(..) => "backup",
            Self::Restore(..) => "restore",
            Self::Enlist(..) => "machine",
            Self::Edit(..) => "policy",
            Self::Mark(..) => "mark",
            Self::Task(..) => "task",
            Self::Cancel(..) => "cancel",
            Self::Stop(..) => "stop",
            Self::Protect(..) => "protect",
        }
    }
}

fn request(what: Operation) -> Request {
    Request { what, host: SITE.to_owned(), carrier: Carrier::Broker }
}

fn later(now: Timestamp, days: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MAX)
}

fn chosen<T>(all: &[T], number: u64) -> Option<&T> {
    all.get(number.checked_rem(all.len() as u64)? as usize)
}

/// Protects a machine, or does not any more.
async fn protect(vault: &Vault, name: &ItemName, protection: Protection) -> Result<()> {
    let Some((newest, item)) = vault.newest_item(name).await? else { return Ok(()) };
    let item = Item { protection, written: vault.clock().now(), ..item? };
    vault.write_item_after(&item, newest).await
}

/// Marks a point as the command line does, where the mark makes sense.
async fn write_mark(engine: &Engine, item: &ItemName, number: u64, kind: MarkKind) -> Result<()> {
    let vault = engine.vault();
    let entries: Vec<PointEntry> = vault.point_entries(item).await?.into_iter().filter(PointEntry::is_point).collect();
    let newest: Option<PointId> = entries.last().map(|entry| entry.id);
    let fits = |entry: &&PointEntry| match kind {
        MarkKind::Deleted => entry.deleted().is_none() && entry.held().is_none() && Some(entry.id) != newest,
        MarkKind::Undeleted => entry.deleted().is_some(),
        MarkKind::Held => entry.held().is_none(),
        _ => entry.held().is_some(),
    };
    let fitting: Vec<&PointEntry> = entries.iter().filter(fits).collect();
    let Some(entry) = chosen(&fitting, number) else { return Err(Error::missing("no point fits")) };
    let now = vault.clock().now();
    let days = i64::from(vault.settings().await?.undelete_days);
    let until = (kind == MarkKind::Deleted).then(|| later(now, days));
    vault.mark(item, entry, &Mark { until, ..Mark::new(kind, now, "operator", "the seed wants it") }).await
}
