use std::{collections::BTreeMap, fmt};

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// Other things by name.
    pub counts: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn fault(&mut self, what: &str) {
        *self.faults.entry(what.to_owned()).or_default() += 1;
    }

    pub(crate) fn count(&mut self, what: &str, number: u64) {
        *self.counts.entry(what.to_owned()).or_default() += number;
    }

    /// How many faults there were whose names begin so.
    pub(crate) fn faults_like(&self, beginning: &str) -> u64 {
        self.faults.iter().filter(|(what, _)| what.starts_with(beginning)).map(|(_, number)| number).sum()
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        for (what, number) in &other.faults {
            *self.faults.entry(what.clone()).or_default() += number;
        }
        for (what, number) in &other.counts {
            *self.counts.entry(what.clone()).or_default() += number;
        }
    }
}

/// What one seed came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Virtual milliseconds that went by.
    pub simulated_ms: u64,
    /// Polls, messages and everything else that happened.
    pub steps: u64,
    /// Faults and other things.
    pub tally: Tally,
    /// Which rule was broken, and how; none of a good seed.
    pub violations: Vec<String>,
    /// Equal for runs that did the same.
    pub trace: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.simulated_ms / 86_400_000;
        write!(f, "seed {}: {days} days, {} steps, trace {:016x}", self.seed, self.steps, self.trace)?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        if self.violations.is_empty() {
            return Ok(());
        }
        write!(f, "\n  replay: tests/simulation/run --seed {} --log", self.seed)
    }
}
