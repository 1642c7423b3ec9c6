//! What happens to broker and processes in an hour.

use std::sync::atomic::Ordering::Relaxed;

use stillpoint_model::Result;

use super::{Simulation, WORKERS, count_store_faults};
use crate::{
    agenda::Item,
    time::{DAY, HOUR, SECOND},
};

/// How far a clock jumps: a year back, ten years ahead.
const JUMPS: [i64; 2] = [-365 * DAY, 3_652 * DAY];

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
        if self.random.below(1000) < self.faults.jumped {
            self.jump();
        }
        if self.random.below(1000) < self.faults.dark {
            // Every other time in the middle of a backup.
            match self.random.below(2) {
                0 => self.go_dark()?,
                _ => self.dark_at_marker = true,
            }
        }
        Ok(())
    }

    /// A process's clock jumps. It stays wrong until the next jump, or until the process dies.
    fn jump(&mut self) {
        let place = self.random.below(WORKERS) as usize;
        let skew = JUMPS[self.random.below(JUMPS.len() as u64) as usize];
        let worker = &self.workers[place];
        let back = worker.clock.skew.load(Relaxed).abs() >= DAY;
        worker.clock.skew.store(if back { 0 } else { skew }, Relaxed);
        let how = match (back, skew) {
            (true, _) => "is right again",
            (false, ..0) => "jumps a year back",
            (false, _) => "jumps ten years ahead",
        };
        let text = format!("the clock of process {} {how}", worker.process);
        self.trace.step(self.time.now(), &text);
        if !back {
            self.tally.fault(&format!("clock {how}"));
        }
    }

    /// The site is without power: everything there dies, and comes back together.
    pub(super) fn go_dark(&mut self) -> Result<()> {
        let now = self.time.now();
        self.dark_at_marker = false;
        let pause = HOUR + self.below(4 * DAY);
        self.trace.step(now, &format!("the site is dark for {} s", pause / SECOND));
        self.tally.fault("site without power");
        self.dark_until = now + pause;
        self.broker.out_until = self.broker.out_until.max(self.dark_until);
        self.world.platform.crash();
        (0..WORKERS as usize).try_for_each(|place| self.kill(place))
    }

    /// A process dies with all it is doing, and another is started in its place.
    fn kill(&mut self, place: usize) -> Result<()> {
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
