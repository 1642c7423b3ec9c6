//! Many seeds, one after the other on each processor.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use stillpoint_model::Result;

use crate::{PairSimulation, Report, Simulation, Tally};

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Campaign {
    /// Seeds that were run.
    pub seeds: u64,
    /// Virtual milliseconds of all of them.
    pub simulated_ms: u64,
    /// Steps of all of them.
    pub steps: u64,
    /// Faults and other things of all of them.
    pub tally: Tally,
    /// Seeds that broke a rule, or whose simulation itself failed, and how; in order.
    pub bad: Vec<(u64, String)>,
}

impl Campaign {
    /// Runs `seeds` seeds from `first` on, and tells of bad ones as they come. The result does not depend on how many processors there are.
    #[must_use]
    pub fn run(first: u64, seeds: u64, tell: &(dyn Fn(&str) + Sync)) -> Self {
        Self::of(&|seed| Simulation::new(seed)?.run(), first, seeds, tell)
    }

    /// The same with pairs.
    #[must_use]
    pub fn of_pairs(first: u64, seeds: u64, tell: &(dyn Fn(&str) + Sync)) -> Self {
        Self::of(&|seed| PairSimulation::new(seed)?.run(), first, seeds, tell)
    }

    fn of(run: &(dyn Fn(u64) -> Result<Report> + Sync), first: u64, seeds: u64, tell: &(dyn Fn(&str) + Sync)) -> Self {
        let (next, all) = (AtomicU64::new(0), Mutex::new(Self::default()));
        let work = || {
            loop {
                let seed = next.fetch_add(1, Relaxed);
                if seed >= seeds {
                    return;
                }
                let outcome = run(first + seed);
                let bad = all.lock().unwrap_or_else(PoisonError::into_inner).add(first + seed, outcome);
                if let Some(how) = bad {
                    tell(&how);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, std::num::NonZero::get) {
                scope.spawn(work);
            }
        });
        let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        all.bad.sort();
        all
    }

    /// Counts what came of a seed; what was bad about it.
    fn add(&mut self, seed: u64, outcome: Result<Report>) -> Option<String> {
        self.seeds += 1;
        let how = match outcome {
            Ok(report) => {
                self.simulated_ms += report.simulated_ms;
                self.steps += report.steps;
                self.tally.add(&report.tally);
                (!report.violations.is_empty()).then(|| report.to_string())
            }
            Err(error) => Some(format!("seed {seed}: the simulation itself failed: {}", error.one_line())),
        };
        self.bad.extend(how.clone().map(|how| (seed, how)));
        how
    }
}

impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} seeds, {} simulated days, {} steps", self.seeds, self.simulated_ms / 86_400_000, self.steps)?;
        for (title, numbers) in [("what happened", &self.tally.counts), ("faults", &self.tally.faults)] {
            writeln!(f, "{title}:")?;
            for (what, count) in numbers {
                writeln!(f, "{count:>12}  {what}")?;
            }
        }
        write!(f, "{:>12}  seeds that broke a rule", self.bad.len())
    }
}
