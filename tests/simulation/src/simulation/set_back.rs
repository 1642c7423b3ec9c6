//! Somebody puts an older set of all objects in the vault's place: a bucket that was restored, a file system's snapshot.

use stillpoint_model::Result;
use stillpoint_testkit::{Content, TestRandom};

use super::{Simulation, WORKERS};
use crate::{
    agenda::Item,
    executor::block,
    installation::Machine,
    oracle::Oracle,
    time::{DAY, HOUR},
};

/// One seed in so many.
const SEEDS: u64 = 20;

/// What is put in the vault's place later, and what was true then.
pub(super) struct Copied {
    content: Content,
    oracle: Oracle,
    machines: Vec<Machine>,
}

/// Draws of its own, so that other seeds do what they did before there was this.
pub(super) fn dice(seed: u64) -> Option<TestRandom> {
    let dice = TestRandom::new(seed ^ 0x5E7B_ACC0_0000_0000);
    (dice.below(SEEDS) == 0).then_some(dice)
}

impl Simulation {
    /// A copy of the vault is made in the first half of so many days, and comes back an hour later or more.
    pub(super) fn plan_set_back(&mut self, days: i64) {
        let Some(dice) = &self.set_back else { return };
        let below = |bound: i64| dice.below(bound.unsigned_abs()).cast_signed();
        let copy = HOUR + below(days * DAY / 2);
        let back = copy + HOUR + below(days * DAY - copy - HOUR);
        self.agenda.at(self.time.epoch + copy, Item::Copy);
        self.agenda.at(self.time.epoch + back, Item::SetBack);
    }

    /// A copy of all objects is made.
    pub(super) fn copy(&mut self) {
        self.trace.step(self.time.now(), "the vault is copied");
        let (content, oracle) = (self.world.content.fork(), self.oracle.clone());
        self.copied = Some(Copied { content, oracle, machines: self.machines.clone() });
    }

    /// The copy comes back while no process runs: one that went on would rest on what it saw, and commit what is not there any more.
    pub(super) fn set_back(&mut self) -> Result<()> {
        let Some(Copied { content, oracle, machines }) = self.copied.take() else { return Ok(()) };
        self.trace.step(self.time.now(), "the vault is set back");
        self.tally.fault("vault set back");
        block(replace(&self.world.content, &content))?;
        self.world = block(self.world.restart())?;
        self.machines = machines;
        block(self.oracle.set_back(oracle, &self.world))?;
        (0..WORKERS as usize).try_for_each(|place| self.kill(place))?;
        block(self.oracle.check_points(&self.world))
    }
}

async fn replace(content: &Content, with: &Content) -> Result<()> {
    let names = with.names().await?;
    for name in content.names().await?.iter().filter(|name| names.binary_search(name).is_err()) {
        content.remove(name).await?;
    }
    for name in names {
        content.replace(&name, with.bytes(&name).await?.to_vec()).await?;
    }
    Ok(())
}
