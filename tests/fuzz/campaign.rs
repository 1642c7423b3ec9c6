//! Many inputs against one target.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt, fs,
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    attempt::{Attempt, attempt, hush},
    chance::Chance,
    corpus,
    mutation::{Sources, mutate},
    targets::Target,
    tokens,
};

/// Seconds for each target; without it a fixed number of inputs.
const SECONDS: &str = "STILLPOINT_FUZZ_SECONDS";
/// Tries to make a kept input smaller.
const SHRINKS: usize = 300;
/// What takes longer is timed twice.
const SLOW: Duration = Duration::from_millis(10);
/// Kinds of failures after which a target has failed enough.
const FAILURES_MAX: usize = 10;
/// Inputs that others are made from.
const POOL_MAX: usize = 2_000;

/// What a campaign found.
pub struct Summary {
    target: &'static str,
    inputs: u64,
    classes: usize,
    kept: usize,
    accepted: u64,
    slowest: Duration,
    peak_bytes: usize,
    pub failures: Vec<String>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, inputs, classes, kept, accepted, slowest, peak_bytes, failures } = self;
        let (slowest, peak, failures) = (slowest.as_millis(), peak_bytes / 1024, failures.len());
        write!(f, "| {target} | {inputs} | {accepted} | {classes} | {kept} | {slowest} | {peak} | {failures} |")
    }
}

/// How long a campaign goes on.
enum Length {
    Inputs(u64),
    Until(Instant),
}

struct Campaign<'a> {
    target: &'a Target,
    chance: Chance,
    /// Inputs that were accepted.
    sound: Vec<Vec<u8>>,
    /// Inputs that were refused, each in its own way.
    pool: Vec<Vec<u8>>,
    words: Vec<String>,
    classes: BTreeSet<String>,
    /// By class, so that each is told once.
    failures: BTreeMap<String, String>,
    summary: Summary,
    /// Where the input at hand is written, so that it can be found if the process dies of it.
    running: Option<PathBuf>,
}

/// A target for as long as the environment says.
pub fn run(target: &Target) -> Summary {
    hush();
    let seconds = env::var(SECONDS).ok().map(|text| text.parse().expect("a number of seconds"));
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{} has seeds", target.name);
    let summary = Summary {
        target: target.name,
        inputs: 0,
        classes: 0,
        kept: 0,
        accepted: 0,
        slowest: Duration::ZERO,
        peak_bytes: 0,
        failures: Vec::new(),
    };
    let mut campaign = Campaign {
        target,
        chance: Chance::new(seconds.map_or(1, |_| random_seed())),
        words: if target.is_text { tokens::words(&seeds) } else { Vec::new() },
        sound: Vec::new(),
        pool: Vec::new(),
        classes: BTreeSet::new(),
        failures: BTreeMap::new(),
        summary,
        running: seconds.map(|_| corpus::folder(corpus::FAILING).join(format!("{}-running", target.name))),
    };
    campaign.known(seeds);
    match seconds {
        None => campaign.go(&Length::Inputs(target.inputs)),
        Some(seconds) => campaign.go(&Length::Until(Instant::now() + Duration::from_secs(seconds))),
    }
    campaign.finish()
}

fn random_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    now ^ u64::from(std::process::id()).rotate_left(40)
}

impl Campaign<'_> {
    /// Seeds, corpus and regressions, as they are.
    fn known(&mut self, seeds: Vec<Vec<u8>>) {
        let kept = corpus::files(&corpus::folder(corpus::CORPUS).join(self.target.name));
        self.summary.kept = kept.len();
        let regressions = corpus::files(&corpus::folder(corpus::REGRESSIONS).join(self.target.name));
        for input in seeds.into_iter().chain(kept.into_iter().chain(regressions).map(|(_, input)| input)) {
            let attempt = self.attempt(&input);
            self.classes.insert(attempt.class.clone());
            self.join(input, &attempt);
        }
    }

    fn go(&mut self, length: &Length) {
        while self.failures.len() < FAILURES_MAX {
            match length {
                Length::Inputs(inputs) if self.summary.inputs >= *inputs => break,
                Length::Until(end) if Instant::now() >= *end => break,
                _ => {}
            }
            let refused = self.sound.is_empty() || !self.pool.is_empty() && self.chance.once_in(4);
            let pool = if refused { &self.pool } else { &self.sound };
            let sources = Sources { pool, words: &self.words, bytes_max: self.target.bytes_max };
            let input = mutate(&mut self.chance, &sources);
            let attempt = self.attempt(&input);
            if !self.classes.insert(attempt.class.clone()) {
                self.wander(input, &attempt);
                continue;
            }
            if self.running.is_some() && self.summary.kept < corpus::FILES_MAX {
                self.keep(&input, &attempt.class);
            }
            self.join(input, &attempt);
        }
    }

    /// Further inputs are made from this one.
    fn join(&mut self, input: Vec<u8>, attempt: &Attempt) {
        let pool = if attempt.is_accepted() { &mut self.sound } else { &mut self.pool };
        if pool.len() < POOL_MAX {
            pool.push(input);
        }
    }

    /// Now and then goes on from an accepted input that is nothing new, so that changes add up.
    fn wander(&mut self, input: Vec<u8>, attempt: &Attempt) {
        if attempt.is_accepted() && self.sound.len() < POOL_MAX / 2 && self.chance.once_in(20) {
            self.sound.push(input);
        }
    }

    fn attempt(&mut self, input: &[u8]) -> Attempt {
        if let Some(running) = &self.running {
            fs::create_dir_all(corpus::folder(corpus::FAILING)).expect("a folder can be made");
            fs::write(running, input).expect("a file can be written");
        }
        let mut attempt = attempt(self.target, input);
        if attempt.took > SLOW {
            // The processor may have been elsewhere.
            attempt.took = attempt.took.min(self::attempt(self.target, input).took);
        }
        self.summary.inputs += 1;
        self.summary.accepted += u64::from(attempt.is_accepted());
        self.summary.slowest = self.summary.slowest.max(attempt.took);
        self.summary.peak_bytes = self.summary.peak_bytes.max(attempt.peak_bytes);
        if let Some(failure) = &attempt.failure {
            self.failed(input, &attempt.class, failure);
        }
        attempt
    }

    fn failed(&mut self, input: &[u8], class: &str, failure: &str) {
        if self.failures.contains_key(class) {
            return;
        }
        let path = corpus::keep(corpus::FAILING, self.target.name, input);
        let start = input[..input.len().min(200)].escape_ascii();
        self.failures.insert(class.to_owned(), format!("{failure}\n  {}: {start}", path.display()));
    }

    /// Puts a smaller input of the same class into the corpus.
    fn keep(&mut self, input: &[u8], class: &str) {
        let mut smallest = input.to_vec();
        for _ in 0..SHRINKS {
            if smallest.len() < 2 {
                break;
            }
            let mut smaller = smallest.clone();
            let start = self.chance.below(smaller.len());
            let length = 1 + self.chance.below((smaller.len() - start).min(smaller.len() / 2));
            smaller.drain(start..start + length);
            if self.attempt(&smaller).class == class {
                smallest = smaller;
            }
        }
        if smallest.len() <= corpus::FILE_BYTES_MAX {
            corpus::keep(corpus::CORPUS, self.target.name, &smallest);
            self.summary.kept += 1;
        }
    }

    fn finish(mut self) -> Summary {
        if let Some(running) = &self.running {
            fs::remove_file(running).expect("a file can be removed");
        }
        self.summary.classes = self.classes.len();
        self.summary.failures = self.failures.into_values().collect();
        self.summary
    }
}
