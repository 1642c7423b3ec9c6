use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use stillpoint_format::{PackRef, PackUse};
use stillpoint_model::{Error, ItemName, Result};

/// Packs that one job reads at most: with names as long as they get, a plan stays below its 64 MiB.
const PACKS_MAX: usize = 240_000;
/// Missing objects that a plan lists at most.
const LOST_MAX: usize = 20_000;

/// An object that is missing or corrupt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lost {
    /// Its name.
    pub(crate) object: String,
    /// What is wrong with it.
    pub(crate) problem: String,
    /// Of a pack: the size that was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size_bytes: Option<u64>,
    /// It was read, and not just looked up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) read: bool,
}

/// A pack that is to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackToRead {
    /// Its name.
    pub(crate) name: String,
    /// Its salt, hex.
    salt: String,
    /// Its size.
    pub(crate) size_bytes: u64,
}

impl PackToRead {
    pub(crate) fn new(used: &PackUse) -> Self {
        Self { name: used.pack.name.to_string(), salt: HEXLOWER.encode(&used.pack.salt), size_bytes: used.size_bytes }
    }

    pub(crate) fn pack(&self) -> Result<PackRef> {
        let salt = HEXLOWER.decode(self.salt.as_bytes()).ok().and_then(|salt| salt.try_into().ok());
        let salt = salt.ok_or_else(|| Error::corrupt("a plan's salt is none"))?;
        Ok(PackRef { name: Arc::from(self.name.as_str()), salt })
    }
}

/// The verification's part of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyPlan {
    /// The machine whose points are looked at; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) item: Option<ItemName>,
    /// Points looked at.
    pub(crate) points: u64,
    /// Distinct objects that they need.
    pub(crate) objects: u64,
    /// What is missing or, of records and manifests, corrupt.
    pub(crate) lost: Vec<Lost>,
    /// Packs to be read; a segment is a run of them.
    pub(crate) packs: Vec<PackToRead>,
    /// What the operator should know.
    pub(crate) warnings: Vec<String>,
}

impl VerifyPlan {
    /// Cuts it to what a plan can hold. What is wanted is kept; of the rest `order` says who goes first.
    pub(crate) fn bound(&mut self, wanted: impl Fn(&str) -> bool, order: impl Fn(&str) -> String) {
        self.bound_to(PACKS_MAX, LOST_MAX, wanted, order);
    }

    fn bound_to(&mut self, packs_max: usize, lost_max: usize, wanted: impl Fn(&str) -> bool, order: impl Fn(&str) -> String) {
        if self.packs.len() > packs_max {
            self.warnings.push(format!(
                "{packs_max} of {} packs are read, the most that one job can: choose a longer period (verify_days), or read smaller parts",
                self.packs.len()
            ));
            self.packs.sort_by_cached_key(|pack| (!wanted(&pack.name), order(&pack.name)));
            self.packs.truncate(packs_max);
        }
        if self.lost.len() > lost_max {
            self.warnings.push(format!(
                "{} objects are missing or corrupt; the points hurt are told for the first {lost_max}",
                self.lost.len()
            ));
            self.lost.truncate(lost_max);
        }
        self.packs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    }
}

/// The verification's part of a marker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentRead {
    /// Packs read to their end.
    pub(crate) packs: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// What is missing or corrupt.
    pub(crate) lost: Vec<Lost>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(packs: u64) -> VerifyPlan {
        let pack = |number| PackToRead { name: format!("packs/{number}"), salt: "00".repeat(16), size_bytes: 1 };
        let lost =
            |number| Lost { object: format!("packs/{number}"), problem: "missing".to_owned(), size_bytes: None, read: false };
        VerifyPlan { packs: (0..packs).rev().map(pack).collect(), lost: (0..packs).map(lost).collect(), ..VerifyPlan::default() }
    }

    fn names(plan: &VerifyPlan) -> Vec<&str> {
        plan.packs.iter().map(|pack| &*pack.name).collect()
    }

    #[test]
    fn what_fits_is_only_sorted() {
        let mut plan = plan(3);
        plan.bound_to(3, 3, |_| false, str::to_owned);
        assert_eq!(names(&plan), ["packs/0", "packs/1", "packs/2"]);
        assert!(plan.warnings.is_empty() && plan.lost.len() == 3);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_said_and_what_is_wanted_stays() {
        let mut plan = plan(9);
        plan.bound_to(2, 4, |name| name == "packs/5", |name| name.replace('7', "!"));
        assert_eq!(names(&plan), ["packs/5", "packs/7"]);
        assert_eq!(plan.lost.len(), 4);
        assert!(plan.warnings[0].contains("2 of 9 packs") && plan.warnings[1].contains("9 objects"), "{:?}", plan.warnings);
    }

    #[test]
    fn the_largest_plan_fits_into_its_record() {
        let name = format!("packs/{}/{}/0000/000000-{}-0000", "m".repeat(63), "0".repeat(26), "0".repeat(26));
        let pack = PackToRead { name: name.clone(), salt: "00".repeat(16), size_bytes: u64::MAX };
        let lost = Lost { object: name, problem: "p".repeat(120), size_bytes: Some(u64::MAX), read: true };
        let bytes = |line: String| line.len() as u64 + 1;
        let packs = bytes(serde_json::to_string(&pack).unwrap()) * PACKS_MAX as u64;
        let lost = bytes(serde_json::to_string(&lost).unwrap()) * LOST_MAX as u64;
        let total = packs + lost + 100_000;
        assert!(total < stillpoint_format::limits::PLAN_BYTES_MAX, "{total}");
    }
}
