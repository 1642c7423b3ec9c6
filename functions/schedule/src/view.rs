use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use stillpoint_fleet::{Fleet, SettledSlot, Tick};
use stillpoint_jobs::{Engine, JobListing};
use stillpoint_model::{ErrorKind, JobId, JobState, Result, Subject};
use stillpoint_vault::{Alarms, Vault};

use crate::{due::Due, outset::Settled, tasks::day};

/// Jobs are listed from this long before the last look: a clock that is behind by less makes no job that nobody sees.
const CLOCKS_APART: SignedDuration = SignedDuration::from_hours(1);

/// What a tick finds in the vault.
pub(crate) struct View<'a> {
    pub(crate) now: Timestamp,
    pub(crate) fleet: &'a Fleet,
    pub(crate) newest: Option<(u32, Tick)>,
    pub(crate) settled: Settled,
    /// Jobs that may not have ended when the timer last looked, and all that were made since.
    pub(crate) jobs: BTreeMap<JobId, JobListing>,
    pub(crate) alarms: Alarms,
}

impl View<'_> {
    /// Jobs that have not ended, oldest first.
    pub(crate) fn unfinished(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.values().filter(|job| !job.state.is_end()).map(|job| job.id)
    }

    /// Number of the next tick on record.
    pub(crate) fn next_seq(&self) -> u32 {
        self.newest.as_ref().map_or(0, |(seq, _)| *seq) + 1
    }

    /// From when on the next tick lists jobs, and which of those before have not ended.
    pub(crate) fn jobs_through(&self) -> (Timestamp, Vec<JobId>) {
        let through = self.now.checked_sub(CLOCKS_APART).unwrap_or(Timestamp::MIN);
        let before = |job: &JobId| i64::try_from(job.timestamp_ms()).is_ok_and(|ms| ms < through.as_millisecond());
        (through, self.unfinished().filter(before).collect())
    }

    /// Whether something that the newest tick on record decided is not carried out.
    pub(crate) fn is_left(&self) -> bool {
        let is_left = |due: Timestamp, subject: &Subject| !self.settled.contains(&(due, subject.clone()));
        self.newest.as_ref().is_some_and(|(_, tick)| {
            tick.starts.iter().any(|start| is_left(start.due, &start.subject))
                || tick.missed.iter().any(|slot| is_left(slot.due, &slot.subject))
        })
    }
}

/// Which of the slots that matter are settled: those due now, those of `tasks`, and those that the newest tick decided about.
pub(crate) async fn settled(
    vault: &Vault,
    newest: Option<&Tick>,
    due: &[Due<'_>],
    tasks: impl Iterator<Item = (Timestamp, Subject)>,
) -> Result<Settled> {
    let of_newest = newest.into_iter().flat_map(|tick| {
        let starts = tick.starts.iter().map(|start| (start.due, start.subject.clone()));
        starts.chain(tick.missed.iter().map(|slot| (slot.due, slot.subject.clone())))
    });
    // A task's slot lies up to a day back; asking for it costs less than listing what machines did since.
    let (of_tasks, of_machines): (Settled, Settled) =
        of_newest.chain(tasks).partition(|(_, subject)| matches!(subject, Subject::Task(_)));
    let mut settled = Settled::new();
    let earliest = due.iter().map(|due| due.slot.due).chain(of_machines.iter().map(|(due, _)| *due)).min();
    if let Some(earliest) = earliest {
        settled.extend(SettledSlot::since(vault, earliest).await?);
    }
    for (due, subject) in of_tasks {
        if SettledSlot::exists(vault, due, &subject).await? {
            settled.insert((due, subject));
        }
    }
    Ok(settled)
}

/// The jobs of a view. After each first tick of a day on record all are listed: a clock that was behind by more than [`CLOCKS_APART`] makes
/// jobs that lie before what the others list, and somebody has to take them on.
pub(crate) async fn jobs(engine: &Engine, newest: Option<&Tick>, now: Timestamp) -> Result<BTreeMap<JobId, JobListing>> {
    let by_id = |jobs: Vec<JobListing>| jobs.into_iter().map(|job| (job.id, job)).collect::<BTreeMap<_, _>>();
    let is_of_today = |tick: &&Tick| tick.jobs_through <= now && day(tick.at) == day(now);
    let Some(tick) = newest.filter(is_of_today) else { return Ok(by_id(engine.jobs().await?)) };
    let mut jobs = by_id(engine.jobs_from(tick.jobs_through).await?);
    for id in &tick.unfinished {
        let state = match engine.job(*id).await {
            Ok(job) => job.state(),
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            // One damaged ledger must not stop the timer; it stays on the list.
            Err(_) => JobState::Requested,
        };
        jobs.insert(*id, JobListing { id: *id, state });
    }
    Ok(jobs)
}
