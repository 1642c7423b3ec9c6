use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_events::{JobEnded, Outgoing};
use stillpoint_model::{AttemptId, Error, ErrorKind, JobId, JobState, Result};
use stillpoint_vault::{Kind, Name};

use crate::{Engine, Job};

const DECISION: Kind = Kind::small("decision");

/// How a job ends; the first to create it has decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decision {
    /// All segments are there: the result is being sealed, nobody can stop it any more.
    Seal {
        /// Who decided.
        attempt: AttemptId,
        /// When.
        at: Timestamp,
    },
    /// The job is given up: nobody can seal it any more.
    Stop {
        /// Who decided.
        attempt: AttemptId,
        /// When.
        at: Timestamp,
        /// `failed` or `cancelled`.
        state: JobState,
        /// Why, for people.
        reason: String,
    },
}

impl Engine {
    async fn decide(&self, job: JobId, decision: Decision) -> Result<Decision> {
        match self.vault().create_record(DECISION, &Name::Decision(job), &decision).await {
            Ok(_) => Ok(decision),
            Err(error) if error.kind() == ErrorKind::Conflict => self.vault().read_record(DECISION, &Name::Decision(job)).await,
            Err(error) => Err(error),
        }
    }

    /// The decision, if it was made.
    ///
    /// # Errors
    /// `corrupt`; as the store.
    pub async fn decision(&self, job: JobId) -> Result<Option<Decision>> {
        match self.vault().read_record(DECISION, &Name::Decision(job)).await {
            Ok(decision) => Ok(Some(decision)),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Decides to seal; must come before anything becomes visible. Repeating it is harmless.
    ///
    /// # Errors
    /// `fenced` when the job was stopped; as the store.
    pub async fn seal(&self, job: &Job, attempt: AttemptId) -> Result<Job> {
        match self.decide(job.id, Decision::Seal { attempt, at: self.vault().clock().now() }).await? {
            Decision::Seal { .. } if job.state() == JobState::Validate => Ok(job.clone()),
            Decision::Seal { .. } => self.append(job, |record| record.state = JobState::Validate).await,
            Decision::Stop { reason, .. } => Err(Error::fenced(format!("job {} was stopped: {reason}", job.id))),
        }
    }

    /// Ends a stopped job that holds nothing; whether it was one.
    ///
    /// # Errors
    /// As the store.
    pub(crate) async fn end_if_free(&self, job: &Job, state: JobState, reason: &str) -> Result<bool> {
        let is_free = !job.request.what.holds();
        if is_free {
            self.end(job, state, reason).await?;
        }
        Ok(is_free)
    }

    /// Decides to stop with `state` (`failed` or `cancelled`). The event makes its function give back what the job holds and
    /// end it. Repeating it is harmless; the first reason stands.
    ///
    /// # Errors
    /// `conflict` when the job is being sealed or has ended; as the store.
    pub async fn stop(&self, id: JobId, state: JobState, reason: &str) -> Result<Outgoing> {
        let job = self.job(id).await?;
        if job.state().is_end() {
            return Err(Error::conflict(format!("job {id} has ended already: {}", job.state())));
        }
        let vault = self.vault();
        let stop =
            Decision::Stop { attempt: AttemptId::new(vault.ulid()), at: vault.clock().now(), state, reason: reason.to_owned() };
        match self.decide(id, stop).await? {
            Decision::Stop { state, reason, .. } => {
                self.end_if_free(&job, state, &reason).await?;
                Ok(Outgoing::new(&JobEnded { job: id }))
            }
            Decision::Seal { .. } => Err(Error::conflict(format!("job {id} is being sealed and can no longer be stopped"))),
        }
    }
}
