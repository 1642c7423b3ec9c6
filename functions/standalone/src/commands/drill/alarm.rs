//! The alarm of a plan's drill: it is about the drill, and holds until all of its machines have passed again.

use stillpoint_events::{AlarmChanged, Outgoing};
use stillpoint_model::{AlarmKey, AlarmKind, AlarmState, DrillName, Result, Subject};
use stillpoint_vault::Occurrence;

use super::notes::Notes;
use crate::session::Session;

/// Raises or resolves it by how the machines did, `before` and now.
pub async fn settle(home: &Session, plan: &DrillName, before: &Notes, notes: &Notes) -> Result<()> {
    let failing = notes.failing();
    let failed = before.failing();
    let is_worse =
        notes.trouble.is_some() && notes.trouble != before.trouble || failing.keys().any(|name| !failed.contains_key(name));
    set(home, plan, notes.shown(), is_worse).await
}

/// Raises it for `trouble`, or resolves it. One that `is_worse` is told again.
pub async fn set(home: &Session, plan: &DrillName, trouble: Option<String>, is_worse: bool) -> Result<()> {
    let alarm = AlarmKey { kind: AlarmKind::DrillFailed, subject: Subject::Drill(plan.clone()) };
    let alarms = home.vault.alarms().await?;
    let (raised, state) = match &trouble {
        Some(_) => (true, AlarmState::Raised),
        None => (false, AlarmState::Resolved),
    };
    let said = trouble.map_or_else(|| format!("drill {plan} passed"), |trouble| format!("drill {plan}: {trouble}"));
    let occurrence = Occurrence { text: said, ..Occurrence::default() };
    let seq = match raised && is_worse && alarms.is_open(&alarm) {
        true => home.vault.worsen_alarm(&alarms, &alarm, occurrence).await?,
        false => home.vault.set_alarm(&alarms, &alarm, raised, occurrence).await?,
    };
    let Some(seq) = seq else { return Ok(()) };
    let event = AlarmChanged { kind: alarm.kind, subject: alarm.subject.to_string(), seq, state };
    home.settle(vec![Outgoing::new(&event)], Vec::new()).await
}
