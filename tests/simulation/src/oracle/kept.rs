//! Kept snapshots.

use stillpoint_jobs::KeptSnapshot;
use stillpoint_model::{JobId, JobState, Result};
use stillpoint_testkit::World;

use super::{Oracle, keeping::CLOCKS_APART_MS};
use crate::{report::Tally, time::MINUTE};

impl Oracle {
    /// I5: a kept snapshot stays for its time, unless an operator gave its job up; or a late copy of the job's first event took another in its
    /// place, and what was kept was gone already.
    pub(super) async fn given_back(&mut self, world: &World, id: JobId, tally: &mut Tally) -> Result<()> {
        tally.count("snapshots given back", 1);
        let Some(kept) = self.kept.get(&id) else { return Ok(()) };
        let is_early = kept.until.as_millisecond() > self.time.now() + CLOCKS_APART_MS;
        // A clock that is ahead ends every promise that rests on the time alone.
        if !is_early
            || self.a_clock_is_ahead
            || self.was_taken_anew(world, id)
            || self.ends.get(&id).is_none_or(|state| *state == JobState::Cancelled)
        {
            return Ok(());
        }
        let how = format!("the snapshot of job {id} is given back, and was to be kept until {}", kept.until);
        self.violated("I5 nothing goes before its time", how);
        Ok(())
    }

    /// Whether a finding is about a kept snapshot whose time was over so lately that the timer may still have to ask for it.
    pub(super) fn is_just_over(&self, wrong: &str) -> bool {
        let since = self.time.now() - 30 * MINUTE;
        let is_late = |kept: &&KeptSnapshot| kept.until.as_millisecond() > since && wrong.contains(&kept.job.to_string());
        self.kept.values().find(is_late).is_some_and(|_| wrong.contains("was not given back"))
    }

    /// Whether the snapshot of a job is not the one that was kept: another took its place, or it vanished.
    pub(super) fn was_taken_anew(&self, world: &World, id: JobId) -> bool {
        let Some(kept) = self.kept.get(&id) else { return false };
        world.platform.is_lost(id) || world.platform.taken(id).is_none_or(|(instant, _)| instant != kept.instant)
    }
}
