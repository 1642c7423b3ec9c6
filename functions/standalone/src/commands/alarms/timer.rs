use jiff::{SignedDuration, Timestamp};
use stillpoint_fleet::{Fleet, Tick};
use stillpoint_model::{AlarmKey, AlarmKind, AlarmState, Result, Subject, Task};
use stillpoint_vault::Vault;

use super::Shown;

/// The timer puts itself on record every half an hour at least; this leaves it time for a slow store, and clocks room to differ.
const SILENCE_MAX: SignedDuration = SignedDuration::from_mins(45);

/// The alarm that the timer is not running: the only one that nobody can record.
pub async fn stopped(vault: &Vault) -> Result<Option<Shown>> {
    let now = vault.clock().now();
    let Some(needed) = needed_since(&Fleet::load(vault).await?, now) else { return Ok(None) };
    let newest = Tick::newest(vault).await?.map(|(_, tick)| tick.at);
    Ok(judge(now, needed, newest).map(|(since, text)| {
        let alarm = AlarmKey { kind: AlarmKind::TimerStopped, subject: Subject::Task(Task::Schedule) };
        Shown { alarm, state: AlarmState::Raised, at: Some(since), text, job: None, points: Vec::new(), told: None }
    }))
}

/// Since when there has been a machine whose backups are scheduled.
fn needed_since(fleet: &Fleet, now: Timestamp) -> Option<Timestamp> {
    let scheduled = fleet.members.iter().filter(|member| member.is_active()).filter_map(|member| {
        let record = fleet.policy_of(member).filter(|record| !record.policy.schedules.is_empty())?;
        Some(member.applies_from(record, now))
    });
    scheduled.min()
}

fn judge(now: Timestamp, needed: Timestamp, newest: Option<Timestamp>) -> Option<(Timestamp, String)> {
    let advice =
        "no scheduled backup begins; see that `stillpoint serve`, a worker with `schedule` or the function `schedule` runs";
    match newest {
        // Silence before there was anything to do is none.
        Some(at) if now.duration_since(at.max(needed)) > SILENCE_MAX => {
            Some((at, format!("the timer has not run since {at:.0}: {advice}")))
        }
        None if now.duration_since(needed) > SILENCE_MAX => Some((needed, format!("the timer has never run: {advice}"))),
        Some(at) if at.duration_since(now) > SILENCE_MAX => Some((
            at,
            format!("the timer's newest record is of {at:.0}, which is still to come: its clock or this machine's is wrong"),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_is_silent_for_longer_than_it_may_be_has_stopped() {
        let at = |minute: i64| Timestamp::from_second(1_774_224_000 + 60 * minute).unwrap();
        let said = |now, needed, newest: Option<i64>| judge(at(now), at(needed), newest.map(at));
        assert_eq!(said(45, 0, Some(0)), None);
        let (since, text) = said(46, 0, Some(0)).unwrap();
        assert!(since == at(0) && text.contains("has not run since 2026-03-23T00:00:00Z"), "{text}");
        assert_eq!(said(46, 10, Some(0)), None, "nothing was scheduled before minute 10");
        assert_eq!(said(45, 0, None), None);
        assert!(said(46, 0, None).unwrap().1.contains("never run"));
        assert_eq!(said(0, 0, Some(45)), None);
        assert!(said(0, 0, Some(46)).unwrap().1.contains("clock"));
    }
}
