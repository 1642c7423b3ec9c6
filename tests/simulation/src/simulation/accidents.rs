//! What happens to broker, processes and the store in an hour, and what somebody does to them who means harm.

use std::sync::atomic::Ordering::Relaxed;

use stillpoint_model::Result;
use stillpoint_vault::Name;

use super::{Simulation, WORKERS, count_store_faults};
use crate::{
    agenda::Item,
    executor::block,
    time::{DAY, HOUR, SECOND},
};

/// How far a clock jumps: a year back, ten years ahead.
const JUMPS: [i64; 2] = [-365 * DAY, 3_652 * DAY];
/// For how long a clock is wrong before somebody sees the alarm and sets it right. A clock that is ahead for longer than it takes to be
/// believed is only undone by undeleting; so is one that jumps ahead again after that.
const JUMPED_MAX: i64 = 5 * DAY;
/// Objects of one seed that are damaged, at most.
const DAMAGED_MAX: u64 = 4;

impl Simulation {
    /// What happens to broker and processes in an hour.
    pub(super) fn accident(&mut self) -> Result<()> {
        let now = self.time.now();
        if self.random.below(1000) < self.faults.queues_lost {
            let lost = self.agenda.retain(|item| !matches!(item, Item::Deliver(_)));
            self.trace.step(now, &format!("all queues are lost, with {lost} messages"));
            self.tally.fault("all queues lost");
        }
        if self.random.below(1000) < self.faults.outage {
            self.trace.step(now, "the broker is out");
            self.broker.out_until = now + HOUR / 2;
            self.tally.fault("broker out for half an hour");
        }
        if self.random.below(1000) < self.faults.killed {
            let place = self.random.below(WORKERS) as usize;
            self.kill(place)?;
        }
        if self.random.below(1000) < self.faults.hypervisor {
            self.trace.step(now, "the hypervisor crashes");
            self.tally.fault("hypervisor crashed");
            self.world.platform.crash();
        }
        if self.random.below(1000) < self.faults.dark {
            // Every other time in the middle of a backup.
            match self.random.below(2) {
                0 => self.go_dark()?,
                _ => self.dark_at_marker = true,
            }
        }
        self.set_room(self.random.below(1000) >= self.faults.full);
        if self.jumped.is_none() && self.random.below(1000) < self.faults.jumped {
            self.jump();
        }
        self.set_right(now);
        if self.happens(self.faults.forged) {
            self.forge();
        }
        if self.random.below(1000) < self.faults.damaged && self.tally.faults_like("damaged: ") < DAMAGED_MAX {
            self.damage()?;
        }
        Ok(())
    }

    /// Whether the store has room in the next hour.
    fn set_room(&mut self, room: bool) {
        if room == (self.faults.store.full == 0) {
            return;
        }
        self.faults.store.full = if room { 0 } else { 1000 };
        let what = if room { "the store has room again" } else { "the store is full" };
        self.trace.step(self.time.now(), what);
        if !room {
            self.tally.fault("store full for an hour");
        }
        for worker in &self.workers {
            worker.store.fault_at(self.faults.store);
        }
    }

    /// A process's clock jumps, once in a seed.
    fn jump(&mut self) {
        let place = self.random.below(WORKERS) as usize;
        let skew = JUMPS[self.random.below(JUMPS.len() as u64) as usize];
        let how = if skew < 0 { "jumps a year back" } else { "jumps ten years ahead" };
        let worker = &self.workers[place];
        worker.clock.skew.store(skew, Relaxed);
        self.oracle.a_clock_is_ahead |= skew > 0;
        let text = format!("the clock of process {} {how}", worker.process);
        self.trace.step(self.time.now(), &text);
        self.tally.fault(&format!("clock {how}"));
        self.jumped = Some(self.time.now() + HOUR + self.below(JUMPED_MAX));
    }

    /// The clock that jumped is set right when its time has come, if its process has not died before.
    fn set_right(&self, now: i64) {
        if self.jumped.is_some_and(|until| until <= now) {
            for worker in self.workers.iter().filter(|worker| worker.clock.skew.load(Relaxed).abs() >= DAY) {
                worker.clock.skew.store(0, Relaxed);
            }
        }
    }

    /// A message that was sent before comes again, as it was or with another message's job.
    fn forge(&mut self) {
        let Some(mut delivery) = self.broker.remembered(&self.random) else { return };
        let other = self.broker.remembered(&self.random).unwrap_or_else(|| delivery.clone());
        let replayed = self.random.below(2) == 0;
        if !replayed && !delivery.graft(&other) {
            return;
        }
        self.tally.fault(if replayed { "old message replayed" } else { "message forged" });
        let pause = self.below(HOUR);
        self.agenda.at(self.time.now() + pause, Item::Deliver(delivery));
    }

    /// An object that points need is removed, shortened, or has other bytes: one flipped, or those of another object of its kind.
    fn damage(&mut self) -> Result<()> {
        let objects = self.oracle.sound_objects();
        let Some(object) = chosen(&objects, self.random.next()) else { return Ok(()) };
        let content = self.world.content.clone();
        let before = block(content.bytes(object))?;
        let kind = self.random.below(5);
        let what = match kind {
            0 => {
                block(content.remove(object))?;
                "removed"
            }
            1 => {
                block(content.truncate(object, self.random.below(before.len() as u64) as usize))?;
                "truncated"
            }
            2 => {
                block(content.flip(object, self.random.next()))?;
                "flipped"
            }
            _ => {
                let alike: Vec<String> = objects.iter().filter(|other| is_alike(other, object)).cloned().collect();
                let Some(other) = chosen(&alike, self.random.next()).filter(|other| *other != object) else { return Ok(()) };
                let bytes = block(content.bytes(other))?;
                if bytes == before {
                    return Ok(());
                }
                if kind == 3 {
                    block(content.replace(other, before.to_vec()))?;
                    self.oracle.damaged(other, bytes.len() != before.len(), false);
                }
                let shows = bytes.len() != before.len();
                block(content.replace(object, bytes.to_vec()))?;
                self.oracle.damaged(object, shows, false);
                if kind == 3 { "swapped" } else { "replayed" }
            }
        };
        if kind < 3 {
            self.oracle.damaged(object, kind < 2, kind == 0);
        }
        self.trace.step(self.time.now(), &format!("{object} is {what}"));
        self.tally.fault(&format!("damaged: {what}"));
        Ok(())
    }

    /// The site is without power: everything there dies, and comes back together.
    pub(super) fn go_dark(&mut self) -> Result<()> {
        let now = self.time.now();
        self.dark_at_marker = false;
        let pause = HOUR + self.below(4 * DAY);
        self.trace.step(now, &format!("the site is dark for {} s", pause / SECOND));
        self.tally.fault("site without power");
        // What was put off until an earlier outage is over comes no sooner for a later, shorter one.
        self.dark_until = self.dark_until.max(now + pause);
        self.broker.out_until = self.broker.out_until.max(self.dark_until);
        self.world.platform.crash();
        (0..WORKERS as usize).try_for_each(|place| self.kill(place))
    }

    /// A process dies with all it is doing, and another is started in its place.
    pub(super) fn kill(&mut self, place: usize) -> Result<()> {
        let process = self.workers[place].process;
        self.trace.step(self.time.now(), &format!("process {process} dies"));
        self.tally.fault("process killed");
        let theirs: Vec<u64> = self.tasks.iter().filter(|(_, task)| task.process == process).map(|(id, _)| *id).collect();
        for id in theirs {
            if let Some(task) = self.tasks.remove(&id) {
                self.redeliver(&task);
            }
        }
        let new = self.start()?;
        let old = std::mem::replace(&mut self.workers[place], new);
        count_store_faults(&mut self.tally, &old);
        Ok(())
    }
}

fn chosen(all: &[String], number: u64) -> Option<&String> {
    all.get(number.checked_rem(all.len() as u64)? as usize)
}

/// Whether two objects are of one kind, so that one might pass for the other.
fn is_alike(one: &str, other: &str) -> bool {
    match (one.parse(), other.parse()) {
        (Ok(one), Ok(other)) => std::mem::discriminant::<Name>(&one) == std::mem::discriminant(&other),
        _ => false,
    }
}
