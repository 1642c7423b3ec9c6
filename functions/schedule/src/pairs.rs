use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use stillpoint_events::Outgoing;
use stillpoint_jobs::{Engine, Operation, Place};
use stillpoint_model::{AlarmKey, AlarmKind, Error, ErrorKind, ItemName, JobId, PointId, Result, Subject, Task};
use stillpoint_vault::{Both, Occurrence, Pair, Pairing, Regions, Role};

use crate::{alarms::Alarms, view::View};

/// Looks at the other vault within the time that a copy may take.
const LOOKS: i32 = 12;
/// ... but not more often, nor less often, than this.
const SHORTEST: SignedDuration = SignedDuration::from_mins(1);
const LONGEST: SignedDuration = SignedDuration::from_hours(1);

/// What this process knows of its looks; another one looks for itself.
#[derive(Default)]
struct Looks {
    last: Option<Timestamp>,
    failing_since: Option<Timestamp>,
}

/// Sees to it that a replica gets what its primary has, and that somebody is told where it does not.
pub(crate) struct Pairs {
    engine: Engine,
    regions: Arc<dyn Regions>,
    looks: Mutex<Looks>,
}

impl Pairs {
    pub(crate) fn new(engine: Engine, regions: Arc<dyn Regions>) -> Self {
        Self { engine, regions, looks: Mutex::default() }
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a tick has to say and to start.
    pub(crate) async fn events(&self, view: &View<'_>, place: &Place) -> Result<Vec<Outgoing>> {
        let pairing = view.fleet.settings.pairing.as_ref().filter(|pairing| pairing.role != Role::Promoted);
        let Some(pairing) = pairing else { return Ok(Vec::new()) };
        let target = SignedDuration::from_secs(i64::from(pairing.target_seconds));
        let every = (target / LOOKS).clamp(SHORTEST, LONGEST);
        if self.looks().last.is_some_and(|last| view.now.duration_since(last).abs() < every) {
            return Ok(Vec::new());
        }
        let both = match self.both(pairing).await {
            Ok(both) => both,
            Err(error) => return self.unreached(view, pairing, target, &error).await,
        };
        *self.looks() = Looks { last: Some(view.now), failing_since: None };
        let alarms = Alarms { engine: &self.engine, view };
        let mut events = Vec::new();
        let reached = AlarmKey { kind: AlarmKind::ReplicaLags, subject: Subject::Task(Task::Replicate) };
        let text = "the other vault of the pair answers again".to_owned();
        events.extend(alarms.set(&reached, false, Occurrence { text, ..Occurrence::default() }).await?);
        let missing = both.missing();
        events.extend(self.lags(view, &both, &missing, target).await?);
        if pairing.role == Role::Replica && self.is_left(view, &missing).await? {
            let id = JobId::new(self.engine.vault().ulid());
            let job = self.engine.create(id, place.request(Operation::Replicate { item: None, records: false })).await?;
            events.push(job.requested());
        }
        Ok(events)
    }

    async fn both(&self, pairing: &Pairing) -> Result<Both> {
        Pair::joined(self.engine.vault(), pairing, &*self.regions).await?.both(None).await
    }

    /// The other vault may be away for as long as a copy may take; then somebody is told.
    async fn unreached(
        &self,
        view: &View<'_>,
        pairing: &Pairing,
        target: SignedDuration,
        error: &Error,
    ) -> Result<Vec<Outgoing>> {
        let since = *self.looks().failing_since.get_or_insert(view.now);
        let passes = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Missing);
        tracing::warn!("{} cannot be looked at: {}", pairing.other, error.one_line());
        if passes && view.now.duration_since(since).abs() < target {
            return Ok(Vec::new());
        }
        let alarm = AlarmKey { kind: AlarmKind::ReplicaLags, subject: Subject::Task(Task::Replicate) };
        let text = format!("nothing is copied between this vault and {}: {}", pairing.other, error.one_line());
        let alarms = Alarms { engine: &self.engine, view };
        Ok(alarms.set(&alarm, true, Occurrence { text, ..Occurrence::default() }).await?.into_iter().collect())
    }

    /// Whether some of the missing points are of machines that no job copies already.
    async fn is_left(&self, view: &View<'_>, missing: &[(ItemName, PointId)]) -> Result<bool> {
        let mut left: BTreeSet<&ItemName> = missing.iter().map(|(item, _)| item).collect();
        for id in view.unfinished() {
            if left.is_empty() {
                break;
            }
            match self.engine.job_as_seen(id).await {
                Ok(job) => left.retain(|item| !job.request.what.copies(item)),
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(_) => {}
            }
        }
        Ok(!left.is_empty())
    }

    /// An alarm for each machine whose newest point is not in the replica in time, and none for the others.
    async fn lags(
        &self,
        view: &View<'_>,
        both: &Both,
        missing: &[(ItemName, PointId)],
        target: SignedDuration,
    ) -> Result<Vec<Outgoing>> {
        let mut newest = BTreeMap::<&ItemName, PointId>::new();
        for (item, point) in missing {
            newest.entry(item).or_insert(*point);
        }
        let alarms = Alarms { engine: &self.engine, view };
        let mut events = Vec::new();
        for (item, entries) in &both.primary {
            let last = entries.iter().rev().find(|entry| entry.is_good());
            let lacks = last.filter(|last| newest.get(item) == Some(&last.id));
            let late = lacks.filter(|last| age(view.now, last.id) > target);
            let text = match (late, lacks) {
                (Some(last), _) => {
                    format!("point {} of {item} is not in the replica after {:#}", last.id, age(view.now, last.id))
                }
                // On its way, and in time.
                (None, Some(_)) => continue,
                (None, None) => format!("the newest point of {item} is in the replica"),
            };
            let alarm = AlarmKey { kind: AlarmKind::ReplicaLags, subject: Subject::Item(item.clone()) };
            events.extend(alarms.set(&alarm, late.is_some(), Occurrence { text, ..Occurrence::default() }).await?);
        }
        Ok(events)
    }
}

/// How old a point is, in whole minutes.
fn age(now: Timestamp, point: PointId) -> SignedDuration {
    let made = i64::try_from(point.timestamp_ms()).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let age = now.duration_since(made.unwrap_or(now));
    SignedDuration::from_mins(age.as_mins())
}
