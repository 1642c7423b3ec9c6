use std::collections::BTreeSet;

use stillpoint_events::AlarmChanged;
use stillpoint_model::{AlarmKey, AlarmKind, AlarmState, ErrorKind, ItemName, JobId, PointId, Result, Subject};
use stillpoint_vault::{Alarms, Occurrence, PointEntry, Vault};

use crate::survey::is_unrecorded;

/// Points that an alarm lists.
const POINTS_MAX: usize = 10_000;

/// Raises and resolves the alarms of the machines in `touched`, and of those of which one is open: of `item`, or of all.
pub(crate) async fn settle(
    vault: &Vault,
    job: JobId,
    item: Option<&ItemName>,
    touched: &BTreeSet<ItemName>,
) -> Result<Vec<AlarmChanged>> {
    let alarms = vault.alarms().await?;
    let open = alarms.open().filter_map(|(alarm, _)| match (&alarm.subject, alarm.kind) {
        (Subject::Item(subject), AlarmKind::Damaged) if item.is_none_or(|item| item == subject) => Some(subject.clone()),
        _ => None,
    });
    let items: BTreeSet<ItemName> = open.chain(touched.iter().cloned()).collect();
    let mut changed = Vec::new();
    for item in items {
        changed.extend(settle_one(vault, &alarms, job, &item).await?);
    }
    Ok(changed)
}

/// A damaged point that somebody may still want.
fn is_hurt(entry: &PointEntry) -> bool {
    entry.damaged().is_some() && entry.deleted().is_none() && (entry.is_point() || is_unrecorded(entry))
}

async fn settle_one(vault: &Vault, alarms: &Alarms, job: JobId, item: &ItemName) -> Result<Option<AlarmChanged>> {
    let entries = vault.point_entries(item).await?;
    let hurt: Vec<PointId> = entries.iter().filter(|entry| is_hurt(entry)).map(|entry| entry.id).collect();
    let alarm = AlarmKey { kind: AlarmKind::Damaged, subject: Subject::Item(item.clone()) };
    let (raised, state) = (!hurt.is_empty(), if hurt.is_empty() { AlarmState::Resolved } else { AlarmState::Raised });
    let is_worse = raised && alarms.is_open(&alarm) && !told_of(vault, alarms, &alarm, &hurt).await?;
    let text = match hurt.len() {
        0 => format!("no recovery point of {item} is damaged any more, as far as verified"),
        count => format!(
            "{count} recovery points of {item} cannot be restored whole: something they need is missing or corrupt; the next backup stores it again for new points; see `stillpoint points {item}` and `stillpoint jobs show {job}`"
        ),
    };
    let points = hurt.into_iter().take(POINTS_MAX).collect();
    let occurrence = Occurrence { text, job: Some(job), points };
    let seq = if is_worse {
        vault.worsen_alarm(alarms, &alarm, occurrence).await?
    } else {
        vault.set_alarm(alarms, &alarm, raised, occurrence).await?
    };
    Ok(seq.map(|seq| AlarmChanged { kind: alarm.kind, subject: item.to_string(), seq, state }))
}

/// Whether the open alarm names all points that are hurt.
async fn told_of(vault: &Vault, alarms: &Alarms, alarm: &AlarmKey, hurt: &[PointId]) -> Result<bool> {
    let Some((_, seq)) = alarms.open().find(|(open, _)| *open == alarm) else { return Ok(false) };
    match vault.alarm(alarm, seq, AlarmState::Raised).await {
        Ok(told) => Ok(told.points.len() >= POINTS_MAX || hurt.iter().all(|point| told.points.contains(point))),
        // What it said cannot be read: it is said again.
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Missing) => Ok(false),
        Err(error) => Err(error),
    }
}
