//! How fast the targets are, and what that means for all machines together.

use std::time::Duration;

use serde_json::{Value, json};
use stillpoint_model::Result;

use super::{
    super::estimate::{Measured, Rate, is_seen_from_here, target_rate, vault_rate},
    Machine, Place,
};
use crate::{output, session::Session};

/// A target that is so many times slower than the one in the middle is loaded, or has a fault.
const LOADED: u64 = 3;

/// See the module.
pub struct Forecast {
    pub vault: Option<Rate>,
    /// None where only workers see one.
    pub targets: Vec<Option<Measured>>,
    /// What is read of the vault for each machine.
    pub stored: Vec<u64>,
}

impl Forecast {
    /// Measures the vault, and one target after the other.
    pub async fn measure(session: &Session, machines: &[Machine], places: &[Place]) -> Result<Self> {
        let stored = machines.iter().map(|machine| machine.chosen.stored.read_bytes(machine.bytes)).collect();
        let largest = machines.iter().max_by_key(|machine| machine.bytes);
        let vault = match largest {
            Some(machine) => vault_rate(session, &machine.chosen.stored).await?,
            None => None,
        };
        let mut targets = Vec::with_capacity(places.len());
        let share = machines.iter().map(|machine| machine.bytes).sum::<u64>() / places.len().max(1) as u64;
        for place in places {
            let disk = place.probe(machines)?;
            if !is_seen_from_here(session, &disk) {
                targets.push(None);
                continue;
            }
            let measured = target_rate(session, &disk, share).await;
            targets.push(Some(measured.map_err(|error| error.context(format!("target {}", place.target.name)))?));
        }
        Ok(Self { vault, targets, stored })
    }

    /// How long one machine takes at a target, with so many others reading the vault.
    pub fn takes(&self, machine: usize, bytes: u64, at: usize, readers: usize) -> Duration {
        let read =
            self.vault.map_or(Duration::ZERO, |rate| rate.takes(self.stored[machine].saturating_mul(readers.max(1) as u64)));
        self.writes(at, bytes).max(read)
    }

    fn writes(&self, at: usize, bytes: u64) -> Duration {
        self.targets[at].map_or(Duration::ZERO, |measured| measured.rate.takes(bytes))
    }

    /// How long all take: as they are dealt out, or as the vault gives them, whichever is longer.
    pub fn all(&self, machines: &[Machine], places: &[Place]) -> Duration {
        let mut free: Vec<Vec<Duration>> =
            places.iter().map(|place| vec![Duration::ZERO; place.target.at_once as usize]).collect();
        for machine in machines {
            let soonest = |at: usize| free[at].iter().min().copied().unwrap_or_default();
            let at = machine.only.or_else(|| (0..places.len()).min_by_key(|at| soonest(*at)));
            let Some(at) = at else { continue };
            // Those at once share the target.
            let time = self.writes(at, machine.bytes.saturating_mul(u64::from(places[at].target.at_once)));
            if let Some(slot) = free[at].iter_mut().min() {
                *slot += time;
            }
        }
        let written = free.into_iter().flatten().max().unwrap_or_default();
        written.max(self.vault.map_or(Duration::ZERO, |rate| rate.takes(self.stored.iter().sum())))
    }

    /// Targets that are full or loaded, and which one is better.
    pub fn warnings(&self, machines: &[Machine], places: &[Place]) -> Vec<String> {
        let rates: Vec<Option<u64>> =
            self.targets.iter().map(|target| target.map(|target| target.unlimited.per_second())).collect();
        let largest = machines.iter().map(|machine| machine.bytes).max().unwrap_or(0);
        let free_bytes = |at: usize| self.targets[at].and_then(|target| target.free_bytes);
        let is_full = |at: usize| free_bytes(at).is_some_and(|free| free < largest);
        // One without room is no measure for others, however fast it is.
        let mut sorted: Vec<u64> = (0..places.len()).filter(|at| !is_full(*at)).filter_map(|at| rates[at]).collect();
        sorted.sort_unstable();
        let middle = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        let is_loaded = |at: usize| rates[at].is_some_and(|rate| rate.saturating_mul(LOADED) < middle);
        let best = (0..places.len()).filter(|at| !is_full(*at) && !is_loaded(*at)).max_by_key(|at| rates[*at]);
        let advice =
            best.map_or_else(|| "choose another".to_owned(), |best| format!("{} is recommended", places[best].target.name));
        let warning = |at: usize| {
            let name = &places[at].target.name;
            if is_full(at) {
                let free = output::bytes(free_bytes(at).unwrap_or(0));
                return Some(format!("target {name} has {free} free, too little for the largest machine; {advice}"));
            }
            let rate = output::bytes(rates[at].unwrap_or(0));
            let usual = output::bytes(middle);
            is_loaded(at).then(|| format!("target {name} takes {rate}/s where others take {usual}/s: it is loaded; {advice}"))
        };
        (0..places.len()).filter_map(warning).collect()
    }

    pub fn document(&self, places: &[Place]) -> Value {
        let targets = places.iter().zip(&self.targets).map(|(place, measured)| {
            json!({
                "name": place.target.name,
                "bytes_per_second": measured.map(|measured| measured.rate.per_second()),
                "free_bytes": measured.and_then(|measured| measured.free_bytes),
            })
        });
        json!({
            "vault_bytes_per_second": self.vault.as_ref().map(Rate::per_second),
            "targets": targets.collect::<Vec<Value>>(),
        })
    }
}
