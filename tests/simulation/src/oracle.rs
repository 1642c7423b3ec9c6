//! What must hold, whatever fails: one function for each rule, looked at after each step that could break it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use stillpoint_events::Function;
use stillpoint_jobs::{Decision, Engine, Operation};
use stillpoint_model::{ItemName, JobId, JobState, MarkKind, PointId, Result};
use stillpoint_testkit::{Call, CallKind, FaultyStore, TestRandom, World};
use stillpoint_vault::{Mark, Name};

use crate::{
    deletions::Deletions,
    report::Tally,
    time::{MINUTE, ProcessClock, Time},
    under_way::UnderWay,
};

/// Clocks of processes are wrong by ten minutes at most; whoever promised and whoever kept may be wrong in different directions.
const CLOCKS_APART_MS: i64 = 21 * MINUTE;

/// How long a job may take where nothing fails.
const JOB_MS: u64 = 3_600_000;

/// A committed point, as far as rules speak of it.
struct Known {
    job: JobId,
    instant: Timestamp,
    keep_until: Option<Timestamp>,
    marks: BTreeMap<u32, (MarkKind, Mark)>,
    freed: bool,
}

impl Known {
    /// The newest of a pair of marks, if it is `mark`.
    fn standing(&self, mark: MarkKind, undone: MarkKind) -> Option<&Mark> {
        let newest = self.marks.values().rev().find(|(kind, _)| *kind == mark || *kind == undone);
        newest.filter(|(kind, _)| *kind == mark).map(|(_, mark)| mark)
    }
}

/// Sees every write and deletion that had its effect, knows what was committed, and says which rule is broken.
pub(crate) struct Oracle {
    engine: Engine,
    time: Arc<Time>,
    points: BTreeMap<(ItemName, PointId), Known>,
    /// Objects that points need which are not freed.
    needed: BTreeMap<String, BTreeSet<PointId>>,
    /// Every name that was ever created.
    names: BTreeSet<String>,
    ends: BTreeMap<JobId, JobState>,
    under_way: UnderWay,
    deletions: Deletions,
    slots: BTreeMap<(ItemName, Timestamp), JobId>,
    pub(crate) violations: Vec<String>,
}

impl Oracle {
    pub(crate) async fn new(world: &World, time: &Arc<Time>) -> Result<Self> {
        let clock = ProcessClock { time: Arc::new(Time::new()), skew: 0.into() };
        let store = FaultyStore::new(world.content.clone(), 0);
        let vault = world.open(&store, Arc::new(clock), Arc::new(TestRandom::new(0))).await?;
        Ok(Self {
            engine: Engine::new(vault),
            time: Arc::clone(time),
            points: BTreeMap::new(),
            needed: BTreeMap::new(),
            names: BTreeSet::new(),
            ends: BTreeMap::new(),
            under_way: UnderWay::default(),
            deletions: Deletions::default(),
            slots: BTreeMap::new(),
            violations: Vec::new(),
        })
    }

    fn violated(&mut self, rule: &str, how: impl AsRef<str>) {
        let at = Timestamp::from_millisecond(self.time.now()).unwrap_or_default();
        self.violations.push(format!("{at} {rule}: {}", how.as_ref()));
    }

    /// Looks at one effect of a task. `function`: which one had it, if not an operator.
    pub(crate) async fn saw(&mut self, world: &World, call: &Call, function: Option<Function>, tally: &mut Tally) -> Result<()> {
        let Ok(name) = call.name.parse::<Name>() else {
            self.violated("names", format!("{} is no name of the vault", call.name));
            return Ok(());
        };
        if call.kind == CallKind::Delete {
            self.only_collect_deletes(&name, function);
            self.nothing_needed_is_deleted(&call.name);
            self.nothing_under_way_is_deleted(&call.name);
            tally.count("objects deleted", 1);
            return Ok(());
        }
        self.no_name_is_used_twice(&name);
        match name {
            Name::Point(item, id) => self.committed(item, id, tally).await,
            Name::Mark(item, id, seq, kind) => self.marked(&item, id, (seq, kind), tally).await,
            Name::Ledger(job, _, state) if state.is_end() => self.ended(world, job, state, tally).await,
            Name::Item(name, _) => {
                self.deletions.saw(&self.engine.vault().item(&name).await?, self.time.now());
                Ok(())
            }
            Name::Plan(job) if !self.ends.contains_key(&job) => self.under_way.planned(&self.engine, job, &self.needed).await,
            Name::Marker(job, segment) if !self.ends.contains_key(&job) => self.segment_done(job, segment).await,
            _ => Ok(()),
        }
    }

    /// Section 6: `collect`, alone, may delete. Every other function could delete what it does not know to be needed.
    fn only_collect_deletes(&mut self, name: &Name, function: Option<Function>) {
        if function != Some(Function::Collect) {
            self.violated("only collect deletes", format!("{function:?} deleted {name}"));
        }
    }

    /// I1, I6: a committed point that is not freed has all its objects, from its commit on, whoever was about to commit it while
    /// collect looked.
    fn nothing_needed_is_deleted(&mut self, name: &str) {
        if let Some(users) = self.needed.get(name).filter(|users| !users.is_empty()) {
            let users = format!("{name} is deleted, and {users:?} need it");
            self.violated("I1 nothing needed is deleted", users);
        }
    }

    /// I6: what a backup that goes on may come to name stays, however long it goes on.
    fn nothing_under_way_is_deleted(&mut self, name: &str) {
        if let Some(job) = self.under_way.user(name) {
            let how = format!("{name} is deleted, and backup {job} goes on and may name it");
            self.violated("I6 nothing under way is deleted", how);
        }
    }

    /// I17: a marker says that its packs are there.
    async fn segment_done(&mut self, job: JobId, segment: u32) -> Result<()> {
        for pack in self.under_way.marked(&self.engine, job, segment).await? {
            self.violated("I17 a marker names what is there", format!("segment {segment} of {job} is done without {pack}"));
        }
        Ok(())
    }

    /// I8: how a job ends is decided once, so one that was stopped makes no point, whoever goes on with it.
    async fn no_point_of_a_stopped_job(&mut self, id: PointId, job: JobId) -> Result<()> {
        if let Some(Decision::Stop { reason, .. }) = self.engine.decision(job).await? {
            self.violated("I8 a stopped job makes no point", format!("job {job} was stopped ({reason}) and made {id}"));
        }
        Ok(())
    }

    /// I7: a name stands for the same bytes for ever. A freed point's record may come back by a process that was frozen in the
    /// middle of its commit; the mark that says it is freed keeps it invisible. A census is a digest of which the newest number counts:
    /// an old one may be written again after it was swept.
    fn no_name_is_used_twice(&mut self, name: &Name) {
        if !self.names.insert(name.to_string()) && !matches!(name, Name::Point(..) | Name::Census(..)) {
            self.violated("I7 no name is used twice", name.to_string());
        }
    }

    async fn committed(&mut self, item: ItemName, id: PointId, tally: &mut Tally) -> Result<()> {
        if self.points.contains_key(&(item.clone(), id)) {
            return Ok(());
        }
        let vault = self.engine.vault().clone();
        let point = vault.point(&item, id).await?;
        let packs = vault.packs_of(&point).await?;
        let mut objects: Vec<String> = packs.iter().map(|used| used.pack.name.to_string()).collect();
        objects.extend([point.manifest.name.clone(), Name::Point(item.clone(), id).to_string()]);
        for object in &objects {
            if vault.store().size(object).await.is_err() {
                self.violated("I1 all that a point needs exists", format!("{id} is committed without {object}"));
            }
        }
        self.one_point_per_slot(&item, id, point.job).await?;
        self.no_point_of_a_stopped_job(id, point.job).await?;
        for object in objects {
            self.needed.entry(object).or_default().insert(id);
        }
        let known =
            Known { job: point.job, instant: point.instant, keep_until: point.keep_until, marks: BTreeMap::new(), freed: false };
        self.points.insert((item, id), known);
        tally.count("points", 1);
        Ok(())
    }

    /// I8: a job makes one point at most, and so does a slot, however many jobs and attempts there were.
    async fn one_point_per_slot(&mut self, item: &ItemName, id: PointId, job: JobId) -> Result<()> {
        if let Some(((_, other), _)) = self.points.iter().find(|(_, known)| known.job == job) {
            let how = format!("job {job} made {other} and {id}");
            self.violated("I8 one point per slot", how);
        }
        if let Operation::Backup { slot: Some(slot), .. } = self.engine.job(job).await?.request.what
            && let Some(other) = self.slots.insert((item.clone(), slot.due), job)
            && other != job
        {
            self.violated("I8 one point per slot", format!("jobs {other} and {job} made points for {item} at {}", slot.due));
        }
        Ok(())
    }

    async fn marked(&mut self, item: &ItemName, id: PointId, (seq, kind): (u32, MarkKind), tally: &mut Tally) -> Result<()> {
        let mark = self.engine.vault().read_mark(item, id, seq, kind).await?;
        tally.count(&format!("points {kind}"), 1);
        // By what they show: an id may be of a clock that was wrong.
        let own = self.points.iter().filter(|((whose, _), _)| whose == item);
        let newest = own.max_by_key(|(_, known)| known.instant).map(|((_, id), _)| *id);
        let Some(known) = self.points.get(&(item.clone(), id)) else { return Ok(()) };
        let now = self.time.now();
        let broken = match kind {
            MarkKind::Deleted if mark.by != "operator" => pruned_too_early(known, newest == Some(id), now),
            MarkKind::Freed => freed_too_early(known, self.deletions.is_over(item, now, CLOCKS_APART_MS), now),
            _ => None,
        };
        if let Some(why) = broken {
            self.violated("I5 nothing goes before its time", format!("{item} {id}: {why}"));
        }
        let Some(known) = self.points.get_mut(&(item.clone(), id)) else { return Ok(()) };
        known.marks.insert(seq, (kind, mark));
        if kind == MarkKind::Freed {
            known.freed = true;
            for users in self.needed.values_mut() {
                users.remove(&id);
            }
        }
        Ok(())
    }

    async fn ended(&mut self, world: &World, id: JobId, state: JobState, tally: &mut Tally) -> Result<()> {
        let job = self.engine.job(id).await?;
        let is_first = !self.ends.contains_key(&id);
        let first = *self.ends.entry(id).or_insert(state);
        if job.state() != first {
            self.violated("a job ends once", format!("{id} ended as {first}, and now is {}", job.state()));
        }
        if !is_first {
            return Ok(());
        }
        self.under_way.ended(id);
        tally.count(&format!("{} {state}", job.request.what.as_str()), 1);
        if let Some((_, point)) = self.points.iter().find(|(_, known)| known.job == id).map(|(key, _)| key.clone()) {
            self.no_point_of_a_stopped_job(point, id).await?;
        }
        if matches!(state, JobState::Failed | JobState::Cancelled) {
            return Ok(());
        }
        match &job.request.what {
            Operation::Backup { .. } if !self.points.values().any(|known| known.job == id) => {
                self.violated("I17 completed means done", format!("backup {id} has no point"));
            }
            Operation::Restore { item, point, disks } => {
                let Some(known) = self.points.get(&(item.clone(), *point)) else { return Ok(()) };
                let shown = world.platform.shown(known.job, known.instant).unwrap_or_default();
                for place in disks {
                    let disk = shown.iter().find(|(name, _)| *name == place.name).map(|(_, disk)| disk);
                    if disk.is_none() || disk != world.target.take(&place.location).as_ref() {
                        let how = format!("restore {id} of {point} completed, and {} is not what it was", place.name);
                        self.violated("I15 a completed restore is whole", how);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// I2, I3: every committed point that is not freed is listed, and restores to the bytes of its snapshot.
    pub(crate) async fn check_points(&mut self, world: &World) -> Result<()> {
        let items: BTreeSet<ItemName> = self.points.keys().map(|(item, _)| item.clone()).collect();
        let fork = world.fork().await?;
        for item in items {
            let listed = fork.vault().point_ids(&item).await?;
            let there = |(whose, id): &(ItemName, PointId)| *whose != item || listed.contains(id);
            let gone: Vec<PointId> =
                self.points.iter().filter(|(key, known)| !known.freed && !there(key)).map(|((_, id), _)| *id).collect();
            for id in gone {
                self.violated("I2 a committed point is visible", id.to_string());
            }
            for wrong in fork.wrong_points(&item).await? {
                self.violated("I3 a restore equals the disk", wrong);
            }
        }
        Ok(())
    }

    /// I11: once faults have stopped, every accepted job ends, and nothing is left of it. What a delivery took for a job that had ended
    /// before, and could not give back because its own time was over, is counted and no violation: nobody knows of it yet.
    pub(crate) async fn check_end(&mut self, world: &World, tally: &mut Tally) -> Result<()> {
        let mut young = BTreeSet::new();
        for job in self.engine.all_jobs().await?.unfinished() {
            if job.timestamp_ms() + JOB_MS > self.time.now().unsigned_abs() {
                young.insert(job.to_string());
                continue;
            }
            let newest = self.engine.job(job).await?;
            let how = format!("{} {job} is still {} at {}", newest.request.what.as_str(), newest.newest.state, newest.newest.at);
            self.violated("I11 every job ends", how);
        }
        for wrong in world.fork().await?.leftovers().await? {
            if self.ends.keys().any(|job| wrong.contains(&job.to_string())) && !wrong.starts_with("audit") {
                tally.count("left over of ended jobs", 1);
            } else if !young.iter().any(|job| wrong.contains(job)) {
                self.violated("I11 nothing is left over", wrong);
            }
        }
        Ok(())
    }
}

/// I5: retention keeps what is held, what was promised a time, and the newest point.
fn pruned_too_early(known: &Known, is_newest: bool, now: i64) -> Option<String> {
    let promised = known.keep_until.filter(|until| until.as_millisecond() > now + CLOCKS_APART_MS);
    match (known.standing(MarkKind::Held, MarkKind::Released), promised, is_newest) {
        (Some(_), _, _) => Some("pruned, and it is held".to_owned()),
        (_, Some(until), _) => Some(format!("pruned, and it was promised until {until}")),
        (_, _, true) => Some("pruned, and it is the newest".to_owned()),
        _ => None,
    }
}

/// I5: a point is freed when it was deleted, its days to take that back are over, and nobody wants it again. Marks are numbered, so
/// what came before the freeing was known to it.
fn freed_too_early(known: &Known, with_machine: bool, now: i64) -> Option<String> {
    let is_held = known.standing(MarkKind::Held, MarkKind::Released).is_some();
    let Some(tombstone) = known.standing(MarkKind::Deleted, MarkKind::Undeleted).filter(|_| !is_held) else {
        let why = if is_held { "freed, and it is held" } else { "freed, and it is not deleted" };
        return (is_held || !with_machine).then(|| why.to_owned());
    };
    match tombstone.until {
        Some(until) if until.as_millisecond() <= now + CLOCKS_APART_MS => None,
        until => Some(format!("freed, and it can be undeleted until {until:?}")),
    }
}
