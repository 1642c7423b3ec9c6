//! Which slots are to be started or given up now. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use stillpoint_fleet::{Fleet, Member};
use stillpoint_model::{
    PolicyName, Subject,
    policy::{Judgement, Slot, Timetable, judge},
};
use stillpoint_vault::PolicyRecord;

/// After an outage slots are looked through for this long: what was missed before is no longer worth counting.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(8 * 24);

/// A slot of a machine whose time has come.
#[derive(Debug, Clone)]
pub(crate) struct Due<'a> {
    pub(crate) member: &'a Member,
    pub(crate) policy: &'a PolicyName,
    pub(crate) slot: Slot,
    pub(crate) judgement: Judgement,
}

impl Due<'_> {
    /// Whether it is to be started.
    pub(crate) const fn runs(&self) -> bool {
        matches!(self.judgement, Judgement::Run | Judgement::CatchUp)
    }

    pub(crate) fn subject(&self) -> Subject {
        Subject::Item(self.member.item.name.clone())
    }
}

/// From when on slots are judged: the timer's last look, unless that lies in the future, where a clock was wrong.
pub(crate) fn since(last_look: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let ago = |by: SignedDuration| now.checked_sub(by).unwrap_or(Timestamp::MIN);
    match last_look {
        Some(last) if last <= now => last.max(ago(LOOK_BACK)),
        Some(_) => ago(SignedDuration::from_hours(24)),
        // Nothing was promised before the first look.
        None => now,
    }
}

/// Slots that are to be started or given up at `now`, if they are not settled; in the order in which they are to start. A policy whose
/// time zone this system does not know has none.
pub(crate) fn due(fleet: &Fleet, since: Timestamp, now: Timestamp) -> Vec<Due<'_>> {
    let tables: BTreeMap<&PolicyName, (Timetable, &PolicyRecord)> =
        fleet.policies.iter().filter_map(|(name, record)| Some((name, (Timetable::new(&record.policy).ok()?, record)))).collect();
    let mut found = Vec::new();
    for member in fleet.members.iter().filter(|member| member.is_active()) {
        let Some((policy, (table, record))) = member.policy().and_then(|name| tables.get_key_value(name)) else { continue };
        for slot in table.due(member.share, member.applies_from(record, now), since, now) {
            let judgement = judge(&slot, now, false);
            if judgement != Judgement::NotYet {
                found.push(Due { member, policy, slot, judgement });
            }
        }
    }
    found.sort_by(|a, b| (a.slot.start, &a.member.item.name).cmp(&(b.slot.start, &b.member.item.name)));
    found
}

/// How many backups are under way, and how many more may begin.
pub(crate) struct Room<'a> {
    fleet: &'a Fleet,
    machines: BTreeSet<Subject>,
    /// Machines whose backup was under way before anything is begun now.
    slow: BTreeSet<Subject>,
    /// Machines of which a snapshot is being taken beside a backup that is slow.
    snapshots: BTreeSet<Subject>,
    policies: BTreeMap<PolicyName, u32>,
    sites: BTreeMap<String, u32>,
    all: u32,
}

impl<'a> Room<'a> {
    pub(crate) fn new(fleet: &'a Fleet) -> Self {
        Self {
            fleet,
            machines: BTreeSet::new(),
            slow: BTreeSet::new(),
            snapshots: BTreeSet::new(),
            policies: BTreeMap::new(),
            sites: BTreeMap::new(),
            all: 0,
        }
    }

    /// Counts a backup that is under way.
    pub(crate) fn take(&mut self, machine: Subject, policy: Option<&PolicyName>, site: Option<&str>) {
        self.machines.insert(machine);
        if let Some(policy) = policy {
            *self.policies.entry(policy.clone()).or_default() += 1;
        }
        if let Some(site) = site {
            *self.sites.entry(site.to_owned()).or_default() += 1;
        }
        self.all += 1;
    }

    /// The same, when all that is under way is counted.
    pub(crate) fn counted(self) -> Self {
        Self { slow: self.machines.clone(), ..self }
    }

    /// Counts a snapshot that is being taken; it is soon over, and no limit speaks of it.
    pub(crate) fn take_snapshot(&mut self, machine: Subject) {
        self.snapshots.insert(machine);
    }

    /// Whether a snapshot may be taken of a machine whose backup is slow.
    pub(crate) fn has_for_snapshot(&self, due: &Due<'_>) -> bool {
        self.slow.contains(&due.subject()) && !self.snapshots.contains(&due.subject())
    }

    /// Whether one more may begin; one machine has one backup at a time.
    pub(crate) fn has(&self, due: &Due<'_>) -> bool {
        let below = |taken: u32, limit: Option<u32>| limit.is_none_or(|limit| taken < limit);
        let taken = |count: Option<&u32>| count.copied().unwrap_or(0);
        let settings = &self.fleet.settings;
        let site = &due.member.item.site;
        let of_policy = self.fleet.policies.get(due.policy).and_then(|record| record.policy.limits.concurrent);
        !self.machines.contains(&due.subject())
            && !self.snapshots.contains(&due.subject())
            && below(taken(self.policies.get(due.policy)), of_policy)
            && below(taken(self.sites.get(site)), settings.sites.get(site).copied())
            && below(self.all, settings.concurrent)
    }
}
