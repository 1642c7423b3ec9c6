//! When backups are due next.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value, json};
use stillpoint_fleet::Member;
use stillpoint_model::{
    ItemName, Result,
    policy::{Policy, Share, Slot, Timetable},
};
use stillpoint_vault::PolicyRecord;

/// A slot to come.
pub struct Run {
    /// The machine; none of a policy that no machine follows.
    pub machine: Option<ItemName>,
    slot: Slot,
    /// Whether the start is that of the machine, and not just the opening of the window.
    exact: bool,
    zone: TimeZone,
}

impl Run {
    /// When it starts, or where that depends on machines that were not looked at, when its window opens: by the policy's clock,
    /// and UTC.
    pub fn cells(&self) -> [String; 3] {
        let start = if self.exact { self.slot.start } else { self.slot.due };
        [self.local(start, "%a %Y-%m-%d %H:%M:%S %Z"), seconds(start), self.local(self.slot.closes, "%a %H:%M %Z")]
    }

    /// One line.
    pub fn line(&self) -> String {
        let [local, utc, closes] = self.cells();
        if self.exact { format!("{local} ({utc})") } else { format!("{local} ({utc}) at the earliest, spread until {closes}") }
    }

    fn local(&self, instant: Timestamp, format: &str) -> String {
        instant.to_zoned(self.zone.clone()).strftime(format).to_string()
    }

    /// For scripts. Local times carry their offset and zone.
    pub fn document(&self) -> Value {
        let local = |instant: Timestamp| instant.to_zoned(self.zone.clone()).to_string();
        let start = self.exact.then_some(self.slot.start);
        json!({
            "machine": self.machine,
            "due": self.slot.due,
            "due_local": local(self.slot.due),
            "start": start,
            "start_local": start.map(local),
            "closes": self.slot.closes,
        })
    }
}

fn seconds(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The next runs of a policy's machine with this share of its windows, by the time of their start.
///
/// Of slots that were due before `from`, those count whose start is still to come, unless they were due before the policy came
/// to apply at `applies_from`.
fn upcoming(policy: &Policy, share: Share, applies_from: Timestamp, from: Timestamp, count: usize) -> Result<Vec<Slot>> {
    let timetable = Timetable::new(policy)?;
    let windows = policy.schedules.iter().filter_map(|schedule| schedule.window);
    let longest = windows.max().map_or(SignedDuration::ZERO, |window| window.duration());
    // `next_runs` excludes the instant it is given, and slots lie on whole seconds.
    let after = from.checked_sub(longest + SignedDuration::from_secs(1)).unwrap_or(Timestamp::MIN);
    let is_next = |slot: &Slot| slot.start >= from && slot.due >= applies_from.min(from);
    let mut slots: Vec<Slot> = timetable.next_runs(share, after).filter(is_next).take(count).collect();
    slots.sort_unstable_by_key(|slot| slot.start);
    Ok(slots)
}

/// The next runs of a machine under this policy. `exact` says that its share is known.
pub fn of_machine(member: &Member, record: &PolicyRecord, exact: bool, from: Timestamp, count: usize) -> Result<Vec<Run>> {
    let policy = &record.policy;
    if !member.is_active() {
        return Ok(Vec::new());
    }
    let zone = policy.zone()?;
    let exact = exact || policy.schedules.iter().all(|schedule| schedule.window.is_none());
    let slots = upcoming(policy, member.share, member.applies_from(record, from), from, count)?;
    let run = |slot| Run { machine: Some(member.item.name.clone()), slot, exact, zone: zone.clone() };
    Ok(slots.into_iter().map(run).collect())
}

/// The next runs of a policy that no machine follows.
pub fn of_policy(record: &PolicyRecord, from: Timestamp, count: usize) -> Result<Vec<Run>> {
    let zone = record.policy.zone()?;
    let slots = upcoming(&record.policy, Share::FIRST, record.written, from, count)?;
    Ok(slots.into_iter().map(|slot| Run { machine: None, slot, exact: true, zone: zone.clone() }).collect())
}
