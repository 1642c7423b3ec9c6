//! Two vaults in two regions, one pulled from the other: processes die, stores fail, the regions lose each other, both delete, and in the
//! end the replica takes over. Smaller than the simulation of an installation: one process at a time in each region, no broker.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use stillpoint_events::RecoveryPointCommitted;
use stillpoint_jobs::Operation;
use stillpoint_model::{ErrorKind, Extent, ItemName, JobState, MarkKind, PointId, Result};
use stillpoint_ports::Clock;
use stillpoint_testkit::{CallKind, Disk, Fault, TestRandom, World};
use stillpoint_vault::{Mark, Pair, Wanted};

use crate::{
    Report,
    bug::Bug,
    executor::block,
    report::Tally,
    time::{DAY, HOUR},
    trace::Trace,
};

const MACHINES: [&str; 2] = ["web-01", "db-01"];
const DISK_BYTES: u64 = 1 << 20;
/// For how many days deleted points can be undeleted.
const UNDELETE_DAYS: i64 = 14;
/// Calls within which a process dies.
const CALLS: u64 = 45;
/// Jobs after which everything is copied, once nothing fails.
const JOBS_MAX: u32 = 8;
const DEATHS: [Fault; 2] = [Fault::KillBefore, Fault::KillAfter];
const TROUBLES: [Fault; 4] = [Fault::ErrorBefore, Fault::ErrorAfter, Fault::ShortRead, Fault::Denied];

/// One seed's pair and all that goes on in it.
pub struct PairSimulation {
    seed: u64,
    random: TestRandom,
    primary: World,
    replica: World,
    bug: Bug,
    /// Points that the replica has ever shown, and those that were deleted there.
    shown: BTreeSet<(ItemName, PointId)>,
    deleted: BTreeSet<(ItemName, PointId)>,
    /// Names that were deleted in the replica.
    gone: BTreeSet<String>,
    away: bool,
    tally: Tally,
    trace: Trace,
    violations: Vec<String>,
    steps: u64,
}

fn machines() -> Result<Vec<ItemName>> {
    MACHINES.iter().map(|name| name.parse()).collect()
}

fn replicate() -> Operation {
    Operation::Replicate { item: None, records: true }
}

impl PairSimulation {
    /// A new pair, and what will happen to it, as `seed` wants it.
    ///
    /// # Errors
    /// As making a vault.
    pub fn new(seed: u64) -> Result<Self> {
        let random = TestRandom::new(seed ^ 0x9A12_0000_0000_0000);
        let (primary, replica) = block(async {
            let primary = World::new(random.next()).await?;
            for item in machines()? {
                let mut disk = Disk::new(DISK_BYTES);
                disk.write_noise(Extent::new(0, DISK_BYTES / 2), random.next());
                primary.platform.put(&format!("{item}/os"), disk);
                primary.protect(&item, &["os".parse()?]).await?;
                primary.backup(&item).await?;
            }
            let replica = primary.pair(Wanted { target_seconds: 3600, retention: None }).await?;
            Ok::<_, stillpoint_model::Error>((primary, replica))
        })?;
        Ok(Self {
            seed,
            random,
            primary,
            replica,
            bug: Bug::default(),
            shown: BTreeSet::new(),
            deleted: BTreeSet::new(),
            gone: BTreeSet::new(),
            away: false,
            tally: Tally::default(),
            trace: Trace::new(),
            violations: Vec::new(),
            steps: 0,
        })
    }

    /// The same, with a bug of another product put back.
    #[cfg(feature = "mutations")]
    #[must_use]
    pub fn mutated(self, bug: stillpoint_model::Mutation) -> Self {
        Self { bug: Bug::new(bug), ..self }
    }

    /// Lets it all happen.
    ///
    /// # Errors
    /// Where the simulation itself fails.
    pub fn run(mut self) -> Result<Report> {
        let begin = self.primary.clock.now();
        let steps = 20 + self.random.below(50);
        while self.steps < steps && self.violations.is_empty() {
            self.steps += 1;
            self.step()?;
            self.judge(self.steps.is_multiple_of(4))?;
        }
        if self.violations.is_empty() {
            self.calm()?;
            self.judge(true)?;
        }
        if self.violations.is_empty() {
            self.promote()?;
        }
        let passed = self.primary.clock.now().duration_since(begin).as_millis();
        Ok(Report {
            seed: self.seed,
            simulated_ms: u64::try_from(passed).unwrap_or(0),
            steps: self.steps,
            tally: self.tally,
            violations: self.violations,
            trace: self.trace.hash(),
        })
    }

    fn pick<T: Copy>(&self, among: &[T]) -> T {
        among[self.random.below(among.len() as u64) as usize]
    }

    fn step(&mut self) -> Result<()> {
        let day = DAY.unsigned_abs();
        self.primary.clock.jump(HOUR + self.random.below(2 * day).cast_signed());
        match self.random.below(16) {
            0..=4 => self.back_up_and_tell(),
            5..=7 => self.replicate_amid_troubles(),
            8 | 9 => self.replicate_and_die(),
            10 => self.collect_at(true),
            11 => self.collect_at(false),
            12 => self.delete_at(true),
            13 => self.delete_at(false),
            14 => {
                self.tally.fault("regions apart");
                self.replica.lose(&self.primary);
                self.away = true;
                Ok(())
            }
            _ => {
                self.come_together();
                Ok(())
            }
        }
    }

    fn come_together(&mut self) {
        self.replica.reach(&self.primary);
        self.away = false;
    }

    /// A backup of which the replica hears: not at all, once or twice, and its process may die of it.
    fn back_up_and_tell(&mut self) -> Result<()> {
        let Some(committed) = self.back_up()? else { return Ok(()) };
        self.note_effects();
        for _ in 0..self.random.below(3) {
            let dies = self.random.below(3) == 0;
            if dies {
                let fault = self.pick(&DEATHS);
                self.replica.store.fault(usize::try_from(1 + self.random.below(CALLS)).unwrap_or(1), fault);
                self.tally.fault(&format!("following dies, {fault:?}"));
            }
            let heard = self.replica.store.until_death(self.replica.hear(&committed));
            let ended = self.bug.during(|| block(heard)).transpose()?;
            self.tally.count("heard of a point", 1);
            if dies {
                self.restart(ended.is_none())?;
            }
        }
        Ok(())
    }

    /// The guest goes on, and is backed up.
    fn back_up(&mut self) -> Result<Option<RecoveryPointCommitted>> {
        let item = self.pick(&MACHINES).parse::<ItemName>()?;
        let at = self.random.below(DISK_BYTES - 100_000);
        let noise = self.random.next();
        self.primary.platform.change(&format!("{item}/os"), |os| os.write_noise(Extent::new(at, 60_000), noise));
        let job = block(self.primary.backup(&item))?;
        self.tally.count(&format!("backup {}", job.state()), 1);
        let point = job.newest.outcome.and_then(|outcome| outcome.point);
        Ok(point.map(|point| RecoveryPointCommitted { item, point, job: job.id }))
    }

    /// A process of the replica copies, and the other region's store, or its own, fails now and then.
    fn replicate_amid_troubles(&mut self) -> Result<()> {
        let fault = self.pick(&TROUBLES);
        let at = usize::try_from(1 + self.random.below(CALLS)).unwrap_or(1);
        let of_primary = self.random.below(2) == 0;
        self.note_effects();
        if of_primary {
            self.primary.store.reset();
            self.primary.store.fault(at, fault);
        } else {
            self.replica.store.fault(at, fault);
        }
        self.tally.fault(&format!("replication meets {fault:?}"));
        let outcome = self.bug.during(|| block(self.replica.task(replicate())));
        if let Ok(job) = &outcome {
            self.tally.count(&format!("replicate {}", job.state()), 1);
        }
        self.primary.store.reset();
        self.restart(outcome.is_err())
    }

    /// A process of the replica dies while it copies. The next one may collect before it goes on.
    fn replicate_and_die(&mut self) -> Result<()> {
        let fault = self.pick(&DEATHS);
        self.note_effects();
        self.replica.store.fault(usize::try_from(1 + self.random.below(CALLS)).unwrap_or(1), fault);
        self.tally.fault(&format!("replication dies, {fault:?}"));
        let ended = self.bug.during(|| block(self.replica.store.until_death(self.replica.task(replicate()))));
        self.restart(ended.is_none())
    }

    /// The next process of the replica, which goes on with what is unfinished, sooner or later.
    fn restart(&mut self, unfinished: bool) -> Result<()> {
        self.note_effects();
        self.replica = block(self.replica.restart())?;
        if unfinished && self.random.below(3) == 0 {
            self.judge(false)?;
            self.collect_at(false)?;
        }
        if unfinished && self.random.below(4) > 0 {
            // Without the primary it fails, or stays as it is.
            drop(self.bug.during(|| block(self.replica.take_on())));
        }
        Ok(())
    }

    fn collect_at(&mut self, primary: bool) -> Result<()> {
        let world = if primary { &self.primary } else { &self.replica };
        let job = self.bug.during(|| block(world.task(Operation::Collect)))?;
        self.tally.count(&format!("collect {}", job.state()), 1);
        if let Some(outcome) = &job.newest.outcome {
            self.tally.count("objects deleted", outcome.counts.get("objects_deleted").copied().unwrap_or(0));
        }
        Ok(())
    }

    /// An operator deletes a point, but not a machine's newest.
    fn delete_at(&mut self, primary: bool) -> Result<()> {
        let world = if primary { &self.primary } else { &self.replica };
        let item = self.pick(&MACHINES).parse::<ItemName>()?;
        let entries = block(world.vault().point_entries(&item))?;
        let points: Vec<_> = entries.into_iter().filter(|entry| entry.is_point() && entry.deleted().is_none()).collect();
        let Some((_, older)) = points.split_last().filter(|(_, older)| !older.is_empty()) else { return Ok(()) };
        let entry = &older[self.random.below(older.len() as u64) as usize];
        let now = world.clock.now();
        let until = now.checked_add(SignedDuration::from_hours(24 * UNDELETE_DAYS)).ok();
        let mark = Mark { until, ..Mark::new(MarkKind::Deleted, now, "operator", "the simulation wants it") };
        block(world.vault().mark(&item, entry, &mark))?;
        self.tally.count(if primary { "deleted in the primary" } else { "deleted in the replica" }, 1);
        if !primary {
            self.deleted.insert((item, entry.id));
        }
        Ok(())
    }

    /// Looks what was written and deleted in the replica since the last time.
    fn note_effects(&mut self) {
        let (_, effects) = self.replica.store.take();
        for effect in effects {
            self.trace.text(&format!("{:?} {}", effect.kind, effect.name));
            match effect.kind {
                CallKind::Delete => drop(self.gone.insert(effect.name)),
                CallKind::Put if self.gone.contains(&effect.name) => {
                    self.violations.push(format!("I7 no name is used twice: {} was deleted in the replica", effect.name));
                }
                _ => {}
            }
        }
        self.replica.store.reset();
    }

    /// What the replica shows is whole without the primary, and stays until it is deleted there.
    fn judge(&mut self, whole: bool) -> Result<()> {
        self.note_effects();
        let mut visible = BTreeSet::new();
        for (item, entries) in block(self.replica.vault().all_point_entries())? {
            visible.extend(entries.into_iter().filter(|entry| entry.is_point()).map(|entry| (item.clone(), entry.id)));
        }
        for (item, point) in self.shown.difference(&visible).filter(|shown| !self.deleted.contains(shown)) {
            self.violations.push(format!("I5 nothing goes before its time: point {point} of {item} is gone from the replica"));
        }
        let is_new = !visible.is_subset(&self.shown);
        self.shown.extend(visible);
        if whole || is_new {
            // Alone: a copy of the world knows no other region.
            let alone = block(self.replica.fork())?;
            for item in machines()? {
                let wrong = block(alone.wrong_points(&item))?;
                self.violations.extend(wrong.into_iter().map(|wrong| format!("I14 the replica is complete: {item}, {wrong}")));
            }
        }
        Ok(())
    }

    /// Nothing fails any more: what is unfinished ends, and what is missing is copied.
    fn calm(&mut self) -> Result<()> {
        self.come_together();
        self.restart(false)?;
        self.primary.store.reset();
        block(self.replica.take_on())?;
        for _ in 0..JOBS_MAX {
            let both = block(async {
                let pair = Pair::of(self.replica.vault(), &self.replica.regions).await?;
                let pair = pair.ok_or_else(|| stillpoint_model::Error::internal("the pair is none any more"))?;
                pair.both(None).await
            })?;
            if both.missing().is_empty() {
                return Ok(());
            }
            let job = self.bug.during(|| block(self.replica.task(replicate())))?;
            if job.state() != JobState::Completed {
                self.violations.push(format!("I11 every job ends well at last: {:?}", job.newest));
                return Ok(());
            }
        }
        self.violations.push("I11 every job ends: points are still not copied".to_owned());
        Ok(())
    }

    /// The primary is lost, maybe while its last point is copied. The replica is promoted and goes on.
    fn promote(&mut self) -> Result<()> {
        self.back_up()?;
        self.replicate_and_die()?;
        self.replica.lose(&self.primary);
        let vault = self.replica.vault();
        block(vault.promote())?;
        for id in block(self.replica.engine.unfinished())? {
            match block(self.replica.engine.stop(id, JobState::Cancelled, "the vault was promoted")) {
                Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
                _ => {}
            }
        }
        self.restart(true)?;
        for item in machines()? {
            let job = block(self.replica.backup(&item))?;
            if job.state() != JobState::Completed {
                self.violations.push(format!("a promoted vault takes backups: {:?}", job.newest));
            }
        }
        self.tally.count("promoted", 1);
        self.judge(true)
    }
}
