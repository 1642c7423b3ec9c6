use stillpoint_events::{AlarmChanged, Outgoing};
use stillpoint_fleet::{SettledSlot, Settlement};
use stillpoint_jobs::{Engine, Job, Operation};
use stillpoint_model::{AlarmKey, AlarmKind, AlarmState, ErrorKind, JobId, JobState, Result, Subject};
use stillpoint_vault::Occurrence;

use crate::view::View;

/// Alarms that nobody was told of and that are brought up again in one tick.
const UNTOLD_MAX: usize = 20;

/// The alarms of one tick.
pub(crate) struct Alarms<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) view: &'a View<'a>,
}

fn event(alarm: &AlarmKey, seq: u32, state: AlarmState) -> Outgoing {
    Outgoing::new(&AlarmChanged { kind: alarm.kind, subject: alarm.subject.to_string(), seq, state })
}

impl Alarms<'_> {
    /// Raises an alarm, or resolves it, if that changes anything.
    pub(crate) async fn set(&self, alarm: &AlarmKey, raised: bool, occurrence: Occurrence) -> Result<Option<Outgoing>> {
        let state = if raised { AlarmState::Raised } else { AlarmState::Resolved };
        let seq = self.engine.vault().set_alarm(&self.view.alarms, alarm, raised, occurrence).await?;
        Ok(seq.map(|seq| event(alarm, seq, state)))
    }

    /// Slots that nothing ran for.
    pub(crate) async fn missed(&self, slots: &[SettledSlot]) -> Result<Vec<Outgoing>> {
        let mut events = Vec::new();
        for slot in slots {
            let Settlement::Missed { slots, since } = slot.settlement else { continue };
            let alarm = AlarmKey { kind: AlarmKind::SlotMissed, subject: slot.subject.clone() };
            let text = format!(
                "{slots} scheduled backups of {} did not run, the first due {since}, the last {}: nothing ran at their time, or the limits left no room",
                slot.subject, slot.due
            );
            events.extend(self.set(&alarm, true, Occurrence { text, ..Occurrence::default() }).await?);
        }
        Ok(events)
    }

    /// Jobs that failed, and those whose success settles an earlier trouble.
    pub(crate) async fn jobs(&self) -> Result<Vec<Outgoing>> {
        let mut events = Vec::new();
        let settles = |kind| matches!(kind, AlarmKind::JobFailed | AlarmKind::SlotMissed | AlarmKind::NoGoodPoint);
        let open: Vec<(&AlarmKey, u32)> = self.view.alarms.open().filter(|(alarm, _)| settles(alarm.kind)).collect();
        for listing in self.view.jobs.values().filter(|listing| !self.view.is_to_come(listing.id)) {
            let failed = listing.state == JobState::Failed;
            let succeeded = matches!(listing.state, JobState::Completed | JobState::CompletedWithWarnings);
            if !(failed || succeeded && !open.is_empty()) {
                continue;
            }
            let Some(job) = self.attended(listing.id).await? else { continue };
            if failed {
                events.extend(self.failed(&job).await?);
            } else {
                // A verification of a machine says nothing of its backups, nor does a backup that made no point.
                let has_point = job.newest.outcome.as_ref().is_some_and(|outcome| outcome.point.is_some());
                let is_own = |alarm: &AlarmKey| {
                    let of_item = matches!(alarm.subject, Subject::Item(_));
                    alarm.subject == job.request.what.subject()
                        && (!of_item || has_point && matches!(job.request.what, Operation::Backup { .. }))
                };
                for (alarm, seq) in open.iter().filter(|(alarm, _)| is_own(alarm)) {
                    events.extend(self.succeeded(&job, alarm, *seq).await?);
                }
            }
        }
        Ok(events)
    }

    /// The job, if it is one that nobody waits for: restores have an operator.
    async fn attended(&self, id: JobId) -> Result<Option<Job>> {
        let seen = self.engine.job_as_seen(id).await;
        let job = match seen {
            Ok(job) if !job.state().is_end() => self.engine.job(id).await,
            other => other,
        };
        match job {
            Ok(job) => Ok(Some(job).filter(|job| !matches!(job.request.what, Operation::Restore { .. }))),
            Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
            Err(_) => Ok(None),
        }
    }

    async fn failed(&self, job: &Job) -> Result<Option<Outgoing>> {
        let subject = job.request.what.subject();
        let alarm = AlarmKey { kind: AlarmKind::JobFailed, subject: subject.clone() };
        // One that was resolved since by a later job is not raised again by an older one. A job of a clock that was ahead is not later.
        if self.newest_job(&alarm).await?.is_some_and(|newest| newest >= job.id && !self.view.is_to_come(newest)) {
            return Ok(None);
        }
        let reason = job.newest.reason.as_deref().unwrap_or("no reason was recorded");
        let text = format!("{} of {subject} failed (job {}): {reason}", job.request.what.as_str(), job.id);
        self.set(&alarm, true, Occurrence { text, job: Some(job.id), points: Vec::new() }).await
    }

    async fn succeeded(&self, job: &Job, alarm: &AlarmKey, seq: u32) -> Result<Option<Outgoing>> {
        let raised = self.engine.vault().alarm(alarm, seq, AlarmState::Raised).await?;
        let earlier = match raised.job {
            Some(failed) if !self.view.is_to_come(failed) => failed >= job.id,
            // What a clock raised that was ahead is older than it says.
            _ => raised.at <= self.view.now && job.newest.at <= raised.at,
        };
        if earlier {
            return Ok(None);
        }
        let text = format!("{} of {} succeeded (job {})", job.request.what.as_str(), alarm.subject, job.id);
        self.set(alarm, false, Occurrence { text, job: Some(job.id), points: Vec::new() }).await
    }

    /// The job that an alarm's newest record is about.
    async fn newest_job(&self, alarm: &AlarmKey) -> Result<Option<JobId>> {
        let Some(standing) = self.view.alarms.0.get(alarm) else { return Ok(None) };
        let (seq, state) = standing.last;
        Ok(self.engine.vault().alarm(alarm, seq, state).await?.job)
    }

    /// Alarms that nobody was told of: their messages are lost, or the one to be told did not answer.
    pub(crate) fn untold(&self) -> Vec<Outgoing> {
        let state = |alarm: &AlarmKey| self.view.alarms.0.get(alarm).map(|standing| standing.last.1);
        let untold = self.view.alarms.untold().take(UNTOLD_MAX);
        untold.filter_map(|(alarm, seq)| Some(event(alarm, seq, state(alarm)?))).collect()
    }
}
