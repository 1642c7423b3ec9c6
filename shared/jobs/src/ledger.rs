use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::{AttemptId, DiskName, Error, ErrorKind, JobId, JobState, PointId, Requests, Result};
use stillpoint_vault::{Kind, Name, SEQ_MAX};

use crate::{Engine, Operation, standing::standing};

const LEDGER: Kind = Kind::small("job");
/// Times a record is tried under the next number when others write to the same ledger.
const APPEND_TRIES: u32 = 20;
/// Events whose failures are counted apart; more than these failing at once is one trouble.
const FAILING_EVENTS_MAX: usize = 64;

/// What brings a job's events to its functions, and so who takes the job on when they are lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carrier {
    /// One process of its host at a time: the next command there.
    #[default]
    Process,
    /// A broker, and workers: the timer.
    Broker,
}

impl Carrier {
    pub(crate) fn is_process(&self) -> bool {
        *self == Self::Process
    }
}

/// The first record's content: what was asked, and where; only functions there pick the job up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What to do.
    pub what: Operation,
    /// The site that reaches the platform or target; of a job that one process carries, its host.
    pub host: String,
    /// Who brings its events.
    #[serde(default, skip_serializing_if = "Carrier::is_process")]
    pub carrier: Carrier,
}

pub(crate) fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What became of one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskOutcome {
    /// The disk's name.
    pub name: DiskName,
    /// Its size.
    pub size_bytes: u64,
    /// Where it was restored to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Bytes written there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
}

/// A snapshot that is kept beyond its job's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptUntil {
    /// The id of the point that it can be restored as; a point of the vault when the transfer is done, too.
    pub point: PointId,
    /// Where it can be restored: the site, or the host.
    pub host: String,
    /// Until when.
    pub until: Timestamp,
}

/// What a job achieved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The point made or restored.
    pub point: Option<PointId>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// The backup's snapshot, if it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptUntil>,
    /// The disks.
    pub disks: Vec<DiskOutcome>,
    /// Bytes read from the source.
    pub read_bytes: u64,
    /// Bytes that differ from the parent.
    pub changed_bytes: u64,
    /// Bytes written to the vault as packs.
    pub stored_bytes: u64,
    /// Requests made to the vault.
    pub requests: Requests,
    /// What a task of the vault did, by name; units stand in the names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
}

/// One record of a job's ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerRecord {
    /// The job.
    pub job: JobId,
    /// Where it stands.
    pub state: JobState,
    /// When this was written.
    pub at: Timestamp,
    /// Who wrote it.
    pub attempt: AttemptId,
    /// How many processes have taken the job on.
    pub tries: u32,
    /// Segments that were done when a process last took it on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub done: u32,
    /// Failed deliveries of its events, by event; those that are to be tried again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, u32>,
    /// The first record only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// Segments of the plan, from the state `transfer` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<u32>,
    /// Why it failed or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it achieved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// A job as its ledger tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The job.
    pub id: JobId,
    /// What was asked.
    pub request: Request,
    /// Number of the newest record.
    pub seq: u32,
    /// The newest record.
    pub newest: LedgerRecord,
}

impl Job {
    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> JobState {
        self.newest.state
    }
}

impl Engine {
    /// Creates a job: writes its first record. `id` is new; its process has locked it before others can see it.
    ///
    /// # Errors
    /// As the store.
    pub async fn create(&self, id: JobId, request: Request) -> Result<Job> {
        let vault = self.vault();
        let record = LedgerRecord {
            job: id,
            state: JobState::Requested,
            at: vault.clock().now(),
            attempt: AttemptId::new(vault.ulid()),
            tries: 1,
            done: 0,
            failures: BTreeMap::new(),
            request: Some(request.clone()),
            segments: None,
            reason: None,
            outcome: None,
        };
        vault.create_record(LEDGER, &Name::Ledger(id, 1, JobState::Requested), &record).await?;
        Ok(Job { id, request, seq: 1, newest: record })
    }

    /// Reads a job's ledger.
    ///
    /// # Errors
    /// `missing` when there is no such job, `corrupt`; as the store.
    pub async fn job(&self, id: JobId) -> Result<Job> {
        let listing = self.vault().store().list_folder(&Name::job_folder(id)).await?;
        let records = listing.objects.iter().filter_map(|entry| match entry.name.parse() {
            Ok(Name::Ledger(_, seq, state)) => Some((seq, state)),
            _ => None,
        });
        let newest =
            records.reduce(standing).ok_or_else(|| Error::missing(format!("there is no job {id}; see `stillpoint jobs`")))?;
        self.job_at(id, newest).await
    }

    /// A job as far as this process has seen it, which is all there is to see unless another process has taken it on. For a
    /// step that was not delivered before: what it does next is refused by the decision, or by the next record's name, never by
    /// what a look would have shown. An end that was seen is the end.
    ///
    /// # Errors
    /// As [`Engine::job`].
    pub async fn job_as_seen(&self, id: JobId) -> Result<Job> {
        let seen = self.vault().seen(&format!("{}/", Name::job_folder(id)));
        let records = seen.iter().filter_map(|name| match name.parse() {
            Ok(Name::Ledger(_, seq, state)) => Some((seq, state)),
            _ => None,
        });
        match records.reduce(standing) {
            Some(newest) => self.job_at(id, newest).await,
            None => self.job(id).await,
        }
    }

    /// A job whose newest record is known.
    async fn job_at(&self, id: JobId, newest: (u32, JobState)) -> Result<Job> {
        let read = |seq, state| async move { self.vault().read_record(LEDGER, &Name::Ledger(id, seq, state)).await };
        let first: LedgerRecord = read(1, JobState::Requested).await?;
        let request = first.request.clone().ok_or_else(|| Error::corrupt(format!("job {id} does not say what it is for")))?;
        let newest_record = if newest.0 == 1 { first } else { read(newest.0, newest.1).await? };
        Ok(Job { id, request, seq: newest.0, newest: newest_record })
    }

    /// Writes the next record; nothing follows an end. Nobody is refused by a record alone: how a job ends is decided by its decision.
    pub(crate) async fn append(&self, job: &Job, change: impl FnOnce(&mut LedgerRecord)) -> Result<Job> {
        if job.state().is_end() {
            return Ok(job.clone());
        }
        let newest = self.next_record(job, change);
        for seq in job.seq + 1..=(job.seq + APPEND_TRIES).min(SEQ_MAX) {
            match self.vault().create_record(LEDGER, &Name::Ledger(job.id, seq, newest.state), &newest).await {
                Ok(_) => return Ok(Job { seq, newest, ..job.clone() }),
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    // Another try of the same step was faster; nothing follows an end.
                    let now = self.job(job.id).await?;
                    if now.state().is_end() {
                        return Ok(now);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::conflict(format!("the ledger of job {} is being written by others", job.id)))
    }

    /// Records that a plan with `segments` segments exists, once.
    ///
    /// # Errors
    /// As the store.
    pub async fn begin_transfer(&self, job: &Job, segments: usize) -> Result<Job> {
        if job.newest.segments.is_some() {
            return Ok(job.clone());
        }
        let segments = u32::try_from(segments).map_err(|_| Error::internal("a plan has at most 2^21 segments"))?;
        self.append(job, |record| (record.state, record.segments) = (JobState::Transfer, Some(segments))).await
    }

    /// Counts a failed delivery of one of the job's events and returns how many there were; `reason` is shown until the next
    /// record. A job that has ended counts nothing.
    ///
    /// # Errors
    /// `missing` when there is no such job; as the store.
    pub async fn count_failure(&self, id: JobId, event: &str, reason: &str) -> Result<u32> {
        for _ in 0..APPEND_TRIES {
            let job = self.job(id).await?;
            let count = |record: &LedgerRecord| record.failures.get(event).copied().unwrap_or(0);
            if job.state().is_end() {
                return Ok(count(&job.newest));
            }
            let written = self
                .append_next(&job, |record| {
                    if record.failures.len() < FAILING_EVENTS_MAX || record.failures.contains_key(event) {
                        *record.failures.entry(event.to_owned()).or_default() += 1;
                    }
                    record.reason = Some(reason.to_owned());
                })
                .await;
            match written {
                // An event that finds no room in the record is one of very many that fail.
                Ok(job) => return Ok(job.newest.failures.get(event).copied().unwrap_or(u32::MAX)),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::unavailable(format!("the ledger of job {id} is being written by others")))
    }

    /// Writes the record that follows `job`'s newest, as nobody else has.
    async fn append_next(&self, job: &Job, change: impl FnOnce(&mut LedgerRecord)) -> Result<Job> {
        let newest = self.next_record(job, change);
        let seq = job.seq + 1;
        self.vault().create_record(LEDGER, &Name::Ledger(job.id, seq, newest.state), &newest).await?;
        Ok(Job { seq, newest, ..job.clone() })
    }

    fn next_record(&self, job: &Job, change: impl FnOnce(&mut LedgerRecord)) -> LedgerRecord {
        let mut newest = LedgerRecord {
            at: self.vault().clock().now(),
            attempt: AttemptId::new(self.vault().ulid()),
            request: None,
            reason: None,
            ..job.newest.clone()
        };
        change(&mut newest);
        newest
    }

    /// Records that the timer, or another process, drives a job on. A try after which more segments are done than before was not in
    /// vain, and none is counted. `None` when somebody else wrote to the ledger meanwhile: it is not stalled, or already driven on.
    ///
    /// # Errors
    /// As the store.
    pub async fn take_on(&self, job: &Job) -> Result<Option<Job>> {
        let done = self.done(job).await?;
        let progressed = done > job.newest.done;
        let written = self.append_next(job, |record| {
            record.tries = if progressed { 1 } else { record.tries + 1 };
            record.done = done;
        });
        match written.await {
            Ok(job) => Ok(Some(job)),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether segments were done since a process last took the job on.
    ///
    /// # Errors
    /// As the store.
    pub async fn has_progressed(&self, job: &Job) -> Result<bool> {
        Ok(self.done(job).await? > job.newest.done)
    }

    /// Segments that have their markers.
    async fn done(&self, job: &Job) -> Result<u32> {
        let Some(segments) = job.newest.segments else { return Ok(0) };
        let outstanding = self.outstanding(job.id, segments).await?.len();
        Ok(segments.saturating_sub(u32::try_from(outstanding).unwrap_or(u32::MAX)))
    }

    /// Ends a job after its sealer has done all that the job is for.
    ///
    /// # Errors
    /// As the store.
    pub async fn complete(&self, job: &Job, outcome: Outcome) -> Result<Job> {
        let state = if outcome.warnings.is_empty() { JobState::Completed } else { JobState::CompletedWithWarnings };
        self.append(job, |record| (record.state, record.outcome) = (state, Some(outcome))).await
    }

    /// Ends a job that was stopped, after everything it held was given back.
    ///
    /// # Errors
    /// As the store.
    pub async fn end(&self, job: &Job, state: JobState, reason: &str) -> Result<Job> {
        self.append(job, |record| (record.state, record.reason) = (state, Some(reason.to_owned()))).await
    }
}
