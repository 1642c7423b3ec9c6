use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use stillpoint_events::{Envelope, Outgoing, TimerTicked};
use stillpoint_fleet::{Fleet, SettledSlot, Settlement, Start, Tick};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Engine, Operation, Place, Request, Wiring};
use stillpoint_model::{ErrorKind, JobId, Result, Subject, policy::Judgement};
use stillpoint_ports::Backlog;
use stillpoint_vault::PolicyRecord;

use crate::{
    alarms::Alarms,
    due::{self, Due, Room},
    outset::{self, Settled},
    pairs::Pairs,
    redrive::Redrive,
    tasks::{self, DueTask},
    view::{self, View},
};

/// A tick that starts nothing goes on record when the newest on record is this old, or of another day: so much is looked through again by
/// each tick.
const RECORD_EVERY: SignedDuration = SignedDuration::from_mins(30);

/// Looks at everything each time the timer ticks.
pub struct Schedule {
    engine: Engine,
    redrive: Redrive,
    pairs: Pairs,
    place: Place,
}

/// What a tick decides about slots.
#[derive(Default)]
struct Decided {
    starts: Vec<Start>,
    missed: Vec<SettledSlot>,
}

impl Schedule {
    /// The handler over its ports, for machines and jobs of their place.
    #[must_use]
    pub fn new(wiring: &Wiring, backlog: Arc<dyn Backlog>, stalled_after: Duration) -> Self {
        let (engine, place) = (wiring.engine.clone(), wiring.place.clone());
        let redrive = Redrive::new(engine.clone(), backlog, &place.site, stalled_after);
        let pairs = Pairs::new(engine.clone(), Arc::clone(&wiring.regions));
        Self { engine, redrive, pairs, place }
    }

    /// Counts what is under way.
    async fn room<'a>(&self, view: &View<'a>) -> Result<Room<'a>> {
        let mut room = Room::new(view.fleet);
        for id in view.unfinished() {
            let job = match self.engine.job_as_seen(id).await {
                Ok(job) => job,
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(_) => continue,
            };
            if let Operation::Backup { snapshot_only: true, .. } = &job.request.what {
                room.take_snapshot(job.request.what.subject());
            } else if let Operation::Backup { item, slot, .. } = &job.request.what {
                let site = view.fleet.member(item).map(|member| member.item.site.as_str());
                room.take(job.request.what.subject(), slot.as_ref().map(|slot| &slot.policy), site);
            }
        }
        Ok(room.counted())
    }

    async fn decide(&self, view: &View<'_>, due: Vec<Due<'_>>, tasks: Vec<DueTask>) -> Result<Decided> {
        let is_open = |due: Timestamp, subject: &Subject| !view.settled.contains(&(due, subject.clone()));
        let open: Vec<Due<'_>> = due.into_iter().filter(|due| is_open(due.slot.due, &due.subject())).collect();
        let mut decided = Decided { missed: missed(&open, view.now), ..Decided::default() };
        let runs: Vec<&Due<'_>> = open.iter().filter(|due| due.runs() && due.member.item.site == self.place.site).collect();
        if !runs.is_empty() {
            let mut room = self.room(view).await?;
            for due in runs {
                let Some(PolicyRecord { policy, .. }) = view.fleet.policies.get(due.policy) else { continue };
                let snapshot_only = !room.has(due) && room.has_for_snapshot(due) && view.keeps(&due.member.item.name, policy);
                if snapshot_only {
                    room.take_snapshot(due.subject());
                } else if room.has(due) {
                    room.take(due.subject(), Some(due.policy), Some(&due.member.item.site));
                } else {
                    continue;
                }
                let late = due.judgement == Judgement::CatchUp;
                let request = outset::backup(&self.place, due, policy, snapshot_only);
                decided.starts.push(self.start(due.subject(), due.slot.due, request, late));
            }
        }
        for (subject, due, what) in tasks.into_iter().filter(|(subject, due, _)| is_open(*due, subject)) {
            decided.starts.push(self.start(subject, due, self.place.request(what), false));
        }
        Ok(decided)
    }

    fn start(&self, subject: Subject, due: Timestamp, request: Request, late: bool) -> Start {
        Start { subject, due, job: JobId::new(self.engine.vault().ulid()), request, late }
    }

    /// Carries out what the newest tick on record decided; only when nothing of it is left is anything decided, so that all that is under
    /// way can be counted.
    async fn slots(&self, view: &View<'_>, due: Vec<Due<'_>>, tasks: Vec<DueTask>) -> Result<Vec<Outgoing>> {
        let alarms = Alarms { engine: &self.engine, view };
        if let Some((_, newest)) = view.newest.as_ref().filter(|_| view.is_left()) {
            let mut events = outset::carry_out(&self.engine, &self.place, newest, &view.settled).await?;
            events.extend(alarms.missed(&newest.missed).await?);
            return Ok(events);
        }
        let Decided { starts, missed } = self.decide(view, due, tasks).await?;
        let is_recent =
            |tick: &Tick| view.now.duration_since(tick.at).abs() < RECORD_EVERY && tasks::day(tick.at) == tasks::day(view.now);
        if starts.is_empty() && missed.is_empty() && view.newest.as_ref().is_some_and(|(_, tick)| is_recent(tick)) {
            return Ok(Vec::new());
        }
        let (jobs_through, unfinished) = view.jobs_through();
        let tick = Tick { at: view.now, jobs_through, unfinished, starts, missed };
        if !tick.record(self.engine.vault(), view.next_seq()).await? {
            return Ok(Vec::new());
        }
        let mut events = outset::carry_out(&self.engine, &self.place, &tick, &Settled::new()).await?;
        events.extend(alarms.missed(&tick.missed).await?);
        Ok(events)
    }
}

/// The slots in which nothing ran, of each machine as one: an outage is one thing to say, however many slots it swallowed.
fn missed(open: &[Due<'_>], now: Timestamp) -> Vec<SettledSlot> {
    let mut machines = BTreeMap::<Subject, (Timestamp, Timestamp, u32)>::new();
    for due in open.iter().filter(|due| due.judgement == Judgement::Missed) {
        let at = due.slot.due;
        let (since, last, slots) = machines.entry(due.subject()).or_insert((at, at, 0));
        (*since, *last, *slots) = (at.min(*since), at.max(*last), *slots + 1);
    }
    let settled =
        |(subject, (since, due, slots))| SettledSlot { subject, due, at: now, settlement: Settlement::Missed { slots, since } };
    machines.into_iter().map(settled).collect()
}

/// Says what cannot be scheduled, and why; nobody else will.
fn complain(fleet: &Fleet) {
    for (whose, why) in &fleet.damaged {
        tracing::error!("{whose} cannot be read, and is not scheduled: {why}");
    }
    for (name, record) in &fleet.policies {
        if let Err(fault) = record.policy.zone() {
            tracing::error!("no backup of policy {name} can be scheduled: {fault}");
        }
    }
}

impl Handler for Schedule {
    type Event = TimerTicked;

    async fn handle(&self, _event: Envelope<TimerTicked>, _invocation: &Invocation) -> Result<Effects> {
        let vault = self.engine.vault();
        let now = vault.clock().now();
        let newest = Tick::newest(vault).await?;
        let fleet = Fleet::load(vault).await?;
        complain(&fleet);
        fleet.write_digest(vault).await?;
        let last = newest.as_ref().map(|(_, tick)| tick);
        let since = due::since(last.map(|tick| tick.at), now);
        let due = if fleet.settings.is_replica() { Vec::new() } else { due::due(&fleet, since, now) };
        let tasks = tasks::due(&fleet, vault.identity().created, now);
        let of_tasks = tasks.iter().map(|(subject, due, _)| (*due, subject.clone()));
        // Slots before jobs: where a slot is on record, its job's ledger is among those listed after.
        let settled = view::settled(vault, last, &due, of_tasks).await?;
        let jobs = view::jobs(&self.engine, last, now).await?;
        let alarms = vault.alarms().await?;
        let kept = self.engine.kept_snapshots().await?;
        let view = View { now, fleet: &fleet, newest, settled, jobs, kept, alarms };
        let mut events = self.redrive.events(view.unfinished()).await?;
        events.extend(self.slots(&view, due, tasks).await?);
        let is_live = |job| view.jobs.get(&job).is_some_and(|job| !job.state.is_end());
        events.extend(self.engine.expired_snapshots(&view.kept, &self.place.host, self.place.carrier, is_live).await?);
        let alarms = Alarms { engine: &self.engine, view: &view };
        events.extend(alarms.untold());
        events.extend(alarms.jobs().await?);
        events.extend(self.pairs.events(&view, &self.place).await?);
        Ok(Effects { events })
    }
}
