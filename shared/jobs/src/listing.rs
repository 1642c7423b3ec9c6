use std::collections::BTreeMap;

use stillpoint_model::{JobId, JobState, Result};
use stillpoint_vault::Name;

use crate::Engine;

/// Days whose jobs are looked through for unfinished ones: a host that was down for longer than this finds its old jobs with
/// `stillpoint jobs`, and every command stays at a bounded number of listings.
const DAYS_LOOKED_AT: usize = 14;

/// A job as the names of its records tell it: no object was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobListing {
    /// The job; sorts by the time it was made.
    pub id: JobId,
    /// Where it stands.
    pub state: JobState,
}

impl Engine {
    /// Jobs of the newest 14 days that have any, oldest first.
    ///
    /// # Errors
    /// As the store.
    pub async fn jobs(&self) -> Result<Vec<JobListing>> {
        let store = self.vault().store();
        let days = store.list_folder(Name::JOBS).await?.folders;
        let mut newest = BTreeMap::<JobId, (u32, JobState)>::new();
        for day in days.iter().rev().take(DAYS_LOOKED_AT) {
            for entry in store.list(&Name::day_folder(day)).await? {
                if let Ok(Name::Ledger(job, seq, state)) = entry.name.parse() {
                    let known = newest.entry(job).or_insert((seq, state));
                    *known = (*known).max((seq, state));
                }
            }
        }
        Ok(newest.into_iter().map(|(id, (_, state))| JobListing { id, state }).collect())
    }

    /// Those of [`Engine::jobs`] that have not ended.
    ///
    /// # Errors
    /// As the store.
    pub async fn unfinished(&self) -> Result<Vec<JobId>> {
        Ok(self.jobs().await?.into_iter().filter(|job| !job.state.is_end()).map(|job| job.id).collect())
    }
}
