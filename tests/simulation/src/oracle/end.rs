//! When everything is over.

use std::collections::BTreeSet;

use stillpoint_model::{AlarmKey, AlarmKind, AlarmState, ItemName, JobId, Result, Subject};
use stillpoint_testkit::World;
use stillpoint_vault::Protection;

use super::Oracle;
use crate::{
    installation::Machine,
    report::Tally,
    time::{DAY, HOUR},
};

/// How long a job may take where nothing fails.
const JOB_MS: i64 = HOUR;
/// How old the newest point of a machine may be where nothing fails: no schedule has longer pauses but one, of a day; and what a window and
/// a backup take.
const FRESH_MS: i64 = DAY + 3 * HOUR;
/// Alarms of a machine that its next backup resolves.
const RESOLVED: [AlarmKind; 3] = [AlarmKind::JobFailed, AlarmKind::SlotMissed, AlarmKind::NoGoodPoint];

impl Oracle {
    /// I11, acceptance row 45: a machine has a fresh point or an open alarm, and an alarm that a later backup settled is not open any more.
    pub(crate) async fn check_alarms(&mut self, machines: &[Machine]) -> Result<()> {
        let vault = self.engine.vault().clone();
        let alarms = vault.alarms().await?;
        let now = self.time.now();
        for machine in machines {
            let item = &machine.name;
            let record = vault.afresh().item(item).await?;
            // Nothing is promised of one whose protection was stopped, and not yet of one that is protected again.
            if record.protection != Protection::Active || record.written.as_millisecond() + FRESH_MS > now {
                continue;
            }
            let newest = self.newest_instant(item);
            let mut is_told = false;
            for kind in RESOLVED {
                let alarm = AlarmKey { kind, subject: Subject::Item(item.clone()) };
                let Some((_, seq)) = alarms.open().find(|(open, _)| **open == alarm) else { continue };
                is_told = true;
                let raised = vault.alarm(&alarm, seq, AlarmState::Raised).await?;
                if let Some(job) = self.settled_since(item, raised.at.as_millisecond(), now - HOUR) {
                    let how = format!("{alarm}, raised at {}, is open, and backup {job} was completed since", raised.at);
                    self.violated("an alarm is resolved when what it says is over", how);
                }
            }
            if !is_told && newest.is_none_or(|newest| newest + FRESH_MS < now) {
                self.violated("I11 what did not happen raises an alarm", format!("{item} has no point since {newest:?}"));
            }
        }
        Ok(())
    }

    /// Of the newest point, or of a snapshot that was kept where the transfer was skipped, for an earlier one was still under way.
    fn newest_instant(&self, item: &ItemName) -> Option<i64> {
        let own = self.points.iter().filter(|((whose, _), known)| whose == item && !known.freed);
        let kept = self.kept.values().filter(|kept| kept.item == *item).map(|kept| kept.instant);
        own.map(|(_, known)| known.instant).chain(kept).map(|instant| instant.as_millisecond()).max()
    }

    /// A backup of a machine that was begun after one time and had ended well before another.
    fn settled_since(&self, item: &ItemName, after: i64, before: i64) -> Option<JobId> {
        let own = self.points.iter().filter(|((whose, _), _)| whose == item).map(|(_, known)| known.job);
        own.filter(|job| self.begun.get(job).is_some_and(|begun| *begun > after))
            .find(|job| self.done.get(job).is_some_and(|done| *done < before))
    }

    /// I11: once faults have stopped, every accepted job ends, and nothing is left of it. What a delivery took for a job that had ended
    /// before, and could not give back because its own time was over, is counted and no violation: nobody knows of it yet.
    pub(crate) async fn check_end(&mut self, world: &World, tally: &mut Tally) -> Result<()> {
        let mut young = BTreeSet::new();
        for job in self.engine.all_jobs().await?.unfinished() {
            // By when it was seen, since its id may be of a clock that was wrong.
            if self.begun.get(&job).is_none_or(|begun| begun + JOB_MS > self.time.now()) {
                young.insert(job.to_string());
                continue;
            }
            let newest = self.engine.job(job).await?;
            let how = format!("{} {job} is still {} at {}", newest.request.what.as_str(), newest.newest.state, newest.newest.at);
            self.violated("I11 every job ends", how);
        }
        for wrong in world.fork().await?.leftovers().await? {
            if self.is_just_over(&wrong) {
                continue;
            }
            if self.is_forgotten(&wrong) {
                tally.count("left over of what was set back", 1);
                continue;
            }
            let promised = self.kept.keys().find(|job| wrong.contains(&job.to_string()) && wrong.contains("to be kept"));
            if promised.is_some_and(|job| !self.a_clock_is_ahead && !self.was_taken_anew(world, *job)) {
                self.violated("I5 nothing goes before its time", wrong);
            } else if self.ends.keys().any(|job| wrong.contains(&job.to_string())) && !wrong.starts_with("audit") {
                tally.count("left over of ended jobs", 1);
            } else if wrong.starts_with("audit") && self.is_of_damage(&wrong) {
                tally.count("damaged in the end", 1);
            } else if !young.iter().any(|job| wrong.contains(job)) {
                self.violated("I11 nothing is left over", wrong);
            }
        }
        Ok(())
    }

    /// Whether a finding is of a job that the vault knew before it was set back and does not know now, or of a snapshot that was given back
    /// in the time that it does not know of: nobody can know of either.
    fn is_forgotten(&self, wrong: &str) -> bool {
        let Some(set_back) = self.set_back else { return false };
        let Some(job) = wrong.split_whitespace().find_map(|word| word.parse::<JobId>().ok()) else { return false };
        let was_kept = self.kept.get(&job).is_some_and(|kept| kept.instant.as_millisecond() < set_back);
        match wrong.contains("to be kept") {
            true => was_kept,
            false => !wrong.starts_with("audit") && !self.begun.contains_key(&job),
        }
    }
}
