use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use stillpoint_events::Outgoing;
use stillpoint_fleet::{SettledSlot, Settlement, Start, Tick};
use stillpoint_jobs::{BackupSlot, Engine, Operation, Place, Request};
use stillpoint_model::{ErrorKind, Result, Subject, policy::Policy};

use crate::due::Due;

/// Jobs that are begun at once.
const IN_FLIGHT: usize = 16;

/// The request of a slot's backup here, or of nothing but its snapshot.
pub(crate) fn backup(place: &Place, due: &Due<'_>, policy: &Policy, snapshot_only: bool) -> Request {
    let slot =
        BackupSlot { policy: policy.name.clone(), due: due.slot.due, fallback: policy.consistency.fallback, pace: policy.pace() };
    let item = due.member.item.name.clone();
    place.request(Operation::Backup {
        item,
        wanted: policy.consistency.wanted,
        keep_until: None,
        slot: Some(slot),
        instant_restore_seconds: policy.limits.instant_restore_days.unwrap_or(0) * 86_400,
        snapshot_only,
    })
}

/// Slots that are settled, by when they were due.
pub(crate) type Settled = BTreeSet<(Timestamp, Subject)>;

/// Carries out what a tick decided, as far as nobody has yet: each start has its ledger first and its slot second, so a slot on
/// record says that nothing of this is left to do. Returns the events of those jobs that begin here.
pub(crate) async fn carry_out(engine: &Engine, place: &Place, tick: &Tick, settled: &Settled) -> Result<Vec<Outgoing>> {
    let is_left = |due: Timestamp, subject: &Subject| !settled.contains(&(due, subject.clone()));
    let starts: Vec<Start> = tick.starts.iter().filter(|start| is_left(start.due, &start.subject)).cloned().collect();
    let begin = |start| async move { begin(engine, place, start, tick.at).await };
    let events: Vec<Option<Outgoing>> = stream::iter(starts).map(begin).buffered(IN_FLIGHT).try_collect().await?;
    let missed: Vec<SettledSlot> = tick.missed.iter().filter(|slot| is_left(slot.due, &slot.subject)).cloned().collect();
    let settle = |slot: SettledSlot| async move { slot.settle(engine.vault()).await };
    stream::iter(missed).map(settle).buffered(IN_FLIGHT).try_collect::<Vec<bool>>().await?;
    Ok(events.into_iter().flatten().collect())
}

async fn begin(engine: &Engine, place: &Place, start: Start, at: Timestamp) -> Result<Option<Outgoing>> {
    let job = match engine.create(start.job, start.request.clone()).await {
        Ok(job) => Some(job),
        // An earlier try came this far; the job may have got on, or ended, since.
        Err(error) if error.kind() == ErrorKind::Conflict => None,
        Err(error) => return Err(error),
    };
    let settlement = Settlement::Started { job: start.job, late: start.late };
    let slot = SettledSlot { subject: start.subject, due: start.due, at, settlement };
    slot.settle(engine.vault()).await?;
    // Jobs of another place, and those that an earlier try made, are found stalled there if nobody begins them.
    Ok(job.filter(|_| place.is_of(&start.request)).map(|job| job.requested()))
}
