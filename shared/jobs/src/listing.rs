use std::{
    collections::BTreeMap,
    sync::{MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use stillpoint_model::{JobId, JobState, Result};
use stillpoint_vault::Name;
use ulid::Ulid;

use crate::{Engine, standing::standing};

/// Days whose jobs are looked through for unfinished ones: a host that was down for longer than this finds its old jobs with
/// `stillpoint jobs`, and every command stays at a bounded number of listings.
const DAYS_LOOKED_AT: usize = 14;
/// How long the first of these days stands; days that come are looked at all the same.
const FIRST_DAY_STANDS: SignedDuration = SignedDuration::from_hours(1);

/// A job as the names of its records tell it: no object was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobListing {
    /// The job; sorts by the time it was made.
    pub id: JobId,
    /// Where it stands.
    pub state: JobState,
}

/// The jobs of all days.
#[derive(Debug, Default)]
pub struct AllJobs {
    /// Where each stands.
    pub states: BTreeMap<JobId, JobState>,
    /// What they work with and need no more when they have ended: plans and markers, by name.
    pub work: Vec<(JobId, String)>,
}

impl AllJobs {
    /// Whether a job is known and has ended. One whose ledger is gone has not: nobody knows what it still does.
    #[must_use]
    pub fn has_ended(&self, id: JobId) -> bool {
        self.states.get(&id).is_some_and(|state| state.is_end())
    }

    /// Those that have not ended, oldest first.
    pub fn unfinished(&self) -> impl Iterator<Item = JobId> + '_ {
        self.states.iter().filter(|(_, state)| !state.is_end()).map(|(id, _)| *id)
    }
}

impl Engine {
    fn known_first_day(&self) -> MutexGuard<'_, Option<(String, Timestamp)>> {
        self.first_day.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first of the newest 14 days that have any job.
    async fn first_day(&self) -> Result<Option<String>> {
        let now = self.vault().clock().now();
        if let Some((day, found)) = &*self.known_first_day()
            && now.duration_since(*found).abs() < FIRST_DAY_STANDS
        {
            return Ok(Some(day.clone()));
        }
        let days = self.vault().store().list_folder(Name::JOBS).await?.folders;
        let first = days.iter().rev().take(DAYS_LOOKED_AT).next_back().cloned();
        *self.known_first_day() = first.clone().map(|day| (day, now));
        Ok(first)
    }

    /// Jobs of the newest 14 days that have any, and of all days since, oldest first. However many days these are, they are
    /// one listing.
    ///
    /// # Errors
    /// As the store.
    pub async fn jobs(&self) -> Result<Vec<JobListing>> {
        match self.first_day().await? {
            Some(first) => self.listed_from(&Name::day_folder(&first)).await,
            None => Ok(Vec::new()),
        }
    }

    /// Jobs made at `instant` or later by the clock of whoever made them, oldest first. One listing.
    ///
    /// # Errors
    /// As the store.
    pub async fn jobs_from(&self, instant: Timestamp) -> Result<Vec<JobListing>> {
        let ms = u64::try_from(instant.as_millisecond()).unwrap_or(0);
        self.listed_from(&Name::job_folder(JobId::new(Ulid::from_parts(ms, 0)))).await
    }

    async fn listed_from(&self, start: &str) -> Result<Vec<JobListing>> {
        let mut newest = BTreeMap::<JobId, (u32, JobState)>::new();
        for entry in self.vault().store().list_from(Name::JOBS, start).await? {
            if let Ok(Name::Ledger(job, seq, state)) = entry.name.parse() {
                let known = newest.entry(job).or_insert((seq, state));
                *known = standing(*known, (seq, state));
            }
        }
        Ok(newest.into_iter().map(|(id, (_, state))| JobListing { id, state }).collect())
    }

    /// The jobs of all days, however old. One listing of all that jobs ever wrote and that was not swept.
    ///
    /// # Errors
    /// As the store.
    pub async fn all_jobs(&self) -> Result<AllJobs> {
        let mut newest = BTreeMap::<JobId, (u32, JobState)>::new();
        let mut work = Vec::new();
        for entry in self.vault().store().list(Name::JOBS).await? {
            match entry.name.parse() {
                Ok(Name::Ledger(job, seq, state)) => {
                    let known = newest.entry(job).or_insert((seq, state));
                    *known = standing(*known, (seq, state));
                }
                Ok(Name::Plan(job) | Name::Marker(job, _) | Name::GroupMarker(job, _)) => work.push((job, entry.name)),
                _ => {}
            }
        }
        Ok(AllJobs { states: newest.into_iter().map(|(id, (_, state))| (id, state)).collect(), work })
    }

    /// Those of [`Engine::jobs`] that have not ended.
    ///
    /// # Errors
    /// As the store.
    pub async fn unfinished(&self) -> Result<Vec<JobId>> {
        Ok(self.jobs().await?.into_iter().filter(|job| !job.state.is_end()).map(|job| job.id).collect())
    }
}
