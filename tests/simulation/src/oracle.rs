//! What must hold, whatever fails: one function for each rule, looked at after each step that could break it.

mod damage;
mod end;
mod keeping;
mod kept;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use stillpoint_events::Function;
use stillpoint_jobs::{Decision, Engine, KeptListing, KeptSnapshot, Operation};
use stillpoint_model::{ItemName, JobId, JobState, MarkKind, PointId, Result};
use stillpoint_testkit::{Call, CallKind, FaultyStore, TestRandom, World};
use stillpoint_vault::{Mark, Name};

use self::{
    damage::Damage,
    keeping::{CLOCKS_APART_MS, freed_too_early, pruned_too_early},
};
use crate::{
    deletions::Deletions,
    report::Tally,
    time::{DAY, ProcessClock, Time},
    under_way::UnderWay,
};

/// Clocks are a year behind, or ten minutes.
const HISTORY_MS: i64 = 300 * DAY;

/// A committed point, as far as rules speak of it.
#[derive(Clone)]
struct Known {
    job: JobId,
    instant: Timestamp,
    keep_until: Option<Timestamp>,
    /// Names of all objects it needs.
    needs: Vec<String>,
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
#[derive(Clone)]
pub(crate) struct Oracle {
    engine: Engine,
    time: Arc<Time>,
    points: BTreeMap<(ItemName, PointId), Known>,
    /// Objects that points need which are not freed.
    needed: BTreeMap<String, BTreeSet<(ItemName, PointId)>>,
    /// Every name that was ever created.
    names: BTreeSet<String>,
    /// When each job was first seen.
    begun: BTreeMap<JobId, i64>,
    ends: BTreeMap<JobId, JobState>,
    /// When jobs were completed.
    done: BTreeMap<JobId, i64>,
    damage: BTreeMap<String, Damage>,
    under_way: UnderWay,
    deletions: Deletions,
    slots: BTreeMap<(ItemName, Timestamp), JobId>,
    /// Whether a clock has jumped years ahead.
    pub(crate) a_clock_is_ahead: bool,
    /// When the vault was set back.
    set_back: Option<i64>,
    /// Snapshots that were ever kept.
    kept: BTreeMap<JobId, KeptSnapshot>,
    pub(crate) violations: Vec<String>,
}

/// The oracle's own view of the vault.
async fn engine(world: &World, time: &Time) -> Result<Engine> {
    let clock = ProcessClock { time: Arc::new(Time::new(time.epoch)), skew: 0.into() };
    let store = FaultyStore::new(world.content.clone(), 0);
    Ok(Engine::new(world.open(&store, Arc::new(clock), Arc::new(TestRandom::new(0))).await?))
}

impl Oracle {
    pub(crate) async fn new(world: &World, time: &Arc<Time>) -> Result<Self> {
        Ok(Self {
            engine: engine(world, time).await?,
            time: Arc::clone(time),
            points: BTreeMap::new(),
            needed: BTreeMap::new(),
            names: BTreeSet::new(),
            begun: BTreeMap::new(),
            ends: BTreeMap::new(),
            done: BTreeMap::new(),
            damage: BTreeMap::new(),
            under_way: UnderWay::default(),
            deletions: Deletions::default(),
            slots: BTreeMap::new(),
            a_clock_is_ahead: false,
            set_back: None,
            kept: BTreeMap::new(),
            violations: Vec::new(),
        })
    }

    /// The vault is what it was at an earlier time, and all that was seen since has not happened; but on the platform it has.
    pub(crate) async fn set_back(&mut self, earlier: Self, world: &World) -> Result<()> {
        let engine = engine(world, &self.time).await?;
        let a_clock_is_ahead = self.a_clock_is_ahead;
        let violations = std::mem::take(&mut self.violations);
        *self = Self { engine, a_clock_is_ahead, set_back: Some(self.time.now()), violations, ..earlier };
        Ok(())
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
        if let Name::Ledger(job, ..) = name {
            let now = self.time.now();
            self.begun.entry(job).or_insert(now);
        }
        match name {
            Name::Point(item, id) => self.committed(item, id, tally).await,
            Name::Mark(item, id, seq, kind) => self.marked(&item, id, (seq, kind), tally).await,
            Name::KeptSnapshot(item, job, until) => {
                let kept = self.engine.read_kept(&KeptListing { item, job, until }).await?;
                self.kept.insert(job, kept);
                tally.count("snapshots kept", 1);
                Ok(())
            }
            Name::ReleasedSnapshot(_, job) => self.given_back(world, job, tally).await,
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
        let users = self.needed.get(name).into_iter().flatten();
        let users: Vec<String> =
            users.filter(|(item, id)| !self.is_struck_out(item, *id)).map(|(item, id)| format!("{item} {id}")).collect();
        if !users.is_empty() {
            self.violated("I1 nothing needed is deleted", format!("{name} is deleted, and {users:?} need it"));
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
    /// an old one may be written again after it was swept; so may whom a record that is long settled waited for, by a run that stood still.
    /// A slot that is swept as history may be settled once more by a timer whose clock is a year behind, or after one that was years ahead
    /// and that nothing yet bore witness against: one backup too many.
    fn no_name_is_used_twice(&mut self, name: &Name) {
        if self.names.insert(name.to_string()) {
            return;
        }
        let is_harmless = match name {
            Name::Point(..) | Name::Census(..) | Name::CollectWaits(..) => true,
            Name::Slot(due, _) => self.a_clock_is_ahead || self.is_history(*due),
            _ => false,
        };
        if !is_harmless {
            self.violated("I7 no name is used twice", name.to_string());
        }
    }

    /// Whether an instant is so long ago that only a wrong clock can call it now.
    fn is_history(&self, instant: Timestamp) -> bool {
        instant.as_millisecond() + HISTORY_MS < self.time.now()
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
            if vault.store().size(object).await.is_err() && !self.damage.contains_key(object) {
                self.violated("I1 all that a point needs exists", format!("{id} is committed without {object}"));
            }
        }
        self.one_point_per_slot(&item, id, point.job).await?;
        self.no_point_of_a_stopped_job(id, point.job).await?;
        self.new_points_avoid_damage(id, point.job, &objects);
        for object in &objects {
            self.needed.entry(object.clone()).or_default().insert((item.clone(), id));
        }
        let known = Known {
            job: point.job,
            instant: point.instant,
            keep_until: point.keep_until,
            needs: objects,
            marks: BTreeMap::new(),
            freed: false,
        };
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
            && !self.is_history(slot.due)
        {
            self.violated("I8 one point per slot", format!("jobs {other} and {job} made points for {item} at {}", slot.due));
        }
        Ok(())
    }

    async fn marked(&mut self, item: &ItemName, id: PointId, (seq, kind): (u32, MarkKind), tally: &mut Tally) -> Result<()> {
        let mark = self.engine.vault().read_mark(item, id, seq, kind).await?;
        tally.count(&format!("points {kind}"), 1);
        let newest = self.newest_good(item);
        let Some(known) = self.points.get(&(item.clone(), id)) else { return Ok(()) };
        let now = self.time.now();
        let broken = match kind {
            // Of a point that is damaged as nobody knows yet, and of one that is as everybody knows, nothing was promised.
            MarkKind::Deleted if mark.by != "operator" && !self.is_hurt(item, id) => {
                pruned_too_early(known, newest == Some(id), now)
            }
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
                users.remove(&(item.clone(), id));
            }
        }
        Ok(())
    }

    async fn ended(&mut self, world: &World, id: JobId, state: JobState, tally: &mut Tally) -> Result<()> {
        let job = self.engine.job(id).await?;
        let is_first = !self.ends.contains_key(&id);
        let first = *self.ends.entry(id).or_insert(state);
        // A late copy may know of other warnings than the first.
        let is_done = |state| matches!(state, JobState::Completed | JobState::CompletedWithWarnings);
        if job.state() != first && !(is_done(first) && is_done(job.state())) {
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
        self.done.insert(id, self.time.now());
        match &job.request.what {
            Operation::Backup { .. } if !self.points.values().any(|known| known.job == id) => {
                let promised = job.newest.outcome.as_ref().and_then(|outcome| outcome.kept.as_ref());
                if state == JobState::Completed || promised.is_none() || !self.kept.contains_key(&id) {
                    self.violated("I17 completed means done", format!("backup {id} has neither point nor snapshot"));
                }
                tally.count("backup has its snapshot only", 1);
            }
            Operation::Restore { item, point, disks, snapshot, .. } => {
                let known = self.points.get(&(item.clone(), *point)).map(|known| (known.job, known.instant));
                let kept = snapshot.and_then(|job| Some((job, self.kept.get(&job)?.instant)));
                let Some((of, instant)) = kept.or(known) else { return Ok(()) };
                let shown = world.platform.shown(of, instant).unwrap_or_default();
                let told = if snapshot.is_some() { None } else { world.vault().point(item, *point).await.ok() };
                for place in disks {
                    let disk = shown.iter().find(|(name, _)| *name == place.name).map(|(_, disk)| disk);
                    let restored = world.target.take(&place.location);
                    let forgotten =
                        told.as_ref().zip(disk).zip(restored.as_ref()).is_some_and(|((point, disk), restored)| {
                            world.was_forgotten(item, point, (&place.name, disk), restored)
                        });
                    if disk.is_none() || disk != restored.as_ref() && !forgotten {
                        let how = format!("restore {id} of {point} completed, and {} is not what it was", place.name);
                        self.violated("I15 a completed restore is whole", how);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
