use jiff::Timestamp;
use stillpoint_events::{AlarmChanged, Outgoing};
use stillpoint_fleet::{Fleet, Keeping, Member};
use stillpoint_model::{
    AlarmKey, AlarmKind, AlarmState, ItemName, Result, Subject, Task,
    policy::{Clock, Timetable},
};
use stillpoint_vault::{Alarms, Occurrence, Vault};

/// The alarms of one run.
pub(crate) struct Bells<'a> {
    vault: &'a Vault,
    alarms: Alarms,
    pub(crate) events: Vec<Outgoing>,
}

impl<'a> Bells<'a> {
    /// The alarms as they stand; one listing.
    pub(crate) async fn look(vault: &'a Vault) -> Result<Self> {
        Ok(Self { vault, alarms: vault.alarms().await?, events: Vec::new() })
    }

    /// Raises the alarm or resolves it, if that changes anything. The event may get lost with the process, the record does not.
    async fn set(&mut self, kind: AlarmKind, subject: Subject, trouble: Option<String>) -> Result<()> {
        let (raised, state) = if trouble.is_some() { (true, AlarmState::Raised) } else { (false, AlarmState::Resolved) };
        let text = trouble.unwrap_or_else(|| "it is over".to_owned());
        let alarm = AlarmKey { kind, subject };
        let written = self.vault.set_alarm(&self.alarms, &alarm, raised, Occurrence { text, ..Occurrence::default() }).await?;
        let event = |seq| Outgoing::new(&AlarmChanged { kind, subject: alarm.subject.to_string(), seq, state });
        self.events.extend(written.map(event));
        Ok(())
    }

    /// Whether the clock is in doubt.
    pub(crate) async fn clock(&mut self, clock: &Clock) -> Result<()> {
        let confirm = "if it is right, say so with `stillpoint vault set --confirm-clock`";
        let trouble = clock.doubt().map(|doubt| format!("{doubt}; {confirm}"));
        self.set(AlarmKind::ClockInDoubt, Subject::Task(Task::Prune), trouble).await
    }

    /// Whether it is open which policy a machine is under.
    pub(crate) async fn policy(&mut self, member: &Member) -> Result<()> {
        let trouble = member.unclear().filter(|_| member.is_active());
        self.set(AlarmKind::PolicyUnclear, Subject::Item(member.item.name.clone()), trouble).await
    }

    /// Whether a machine has a good point that is young enough; `keeping` is none of a machine whose points were not looked at.
    pub(crate) async fn point(
        &mut self,
        fleet: &Fleet,
        member: &Member,
        keeping: Option<&Keeping>,
        now: Timestamp,
    ) -> Result<()> {
        let name = &member.item.name;
        let trouble = match (keeping, fleet.policy_of(member)) {
            (Some(keeping), Some(record)) if !record.policy.schedules.is_empty() => {
                let applies_from = member.applies_from(record, now);
                let newest = newest_good(keeping, now);
                let objective = match Timetable::new(&record.policy)?.objective(applies_from, now) {
                    Some(objective) => objective,
                    None if newest.is_some_and(|newest| newest >= applies_from) => applies_from,
                    // Too early to tell: an alarm of before stands, and none is raised.
                    None => return Ok(()),
                };
                newest.is_none_or(|newest| newest < objective).then(|| too_old(name, newest, objective))
            }
            _ => None,
        };
        self.set(AlarmKind::NoGoodPoint, Subject::Item(name.clone()), trouble).await
    }
}

/// The instant of the newest point that is neither damaged nor deleted. Those from the future say nothing of today.
fn newest_good(keeping: &Keeping, now: Timestamp) -> Option<Timestamp> {
    let good = keeping.points.iter().filter(|kept| kept.entry.damaged().is_none() && kept.entry.deleted().is_none());
    good.map(|kept| kept.point.instant).filter(|instant| *instant <= now).max()
}

fn too_old(name: &ItemName, newest: Option<Timestamp>, objective: Timestamp) -> String {
    let newest = newest.map_or_else(|| "it has none".to_owned(), |newest| format!("the newest is of {newest:.0}"));
    format!(
        "machine {name} has no good recovery point since {objective:.0}: {newest}; see `stillpoint jobs` and `stillpoint points {name}`"
    )
}
