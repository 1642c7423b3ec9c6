//! The timer of a world.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use stillpoint_events::{Envelope, Function, Outgoing, TimerTicked};
use stillpoint_handler::{Functions, Invocation};
use stillpoint_jobs::{Place, Wiring};
use stillpoint_model::{AttemptId, Result};
use stillpoint_ports::{Backlog, Clock};

use crate::{TestClock, World};

/// The site of a world's machines.
pub const SITE: &str = "here";

struct NothingWaits;

#[async_trait]
impl Backlog for NothingWaits {
    async fn waiting(&self) -> Result<u64> {
        Ok(0)
    }
}

impl World {
    /// What a tick of the timer starts, for machines at `site`; jobs are carried by this process.
    fn schedule(&self, site: &str) -> Functions {
        let place = Place { site: site.to_owned(), ..self.place() };
        let wiring = Wiring { place, ..self.wiring() };
        stillpoint_schedule::functions(&wiring, Arc::new(NothingWaits), Duration::from_secs(600))
    }

    /// One tick of the timer; returns what it would publish.
    ///
    /// # Errors
    /// As the handler.
    pub async fn tick(&self) -> Result<Vec<Outgoing>> {
        self.tick_at(SITE).await
    }

    /// One tick of the timer at another site.
    ///
    /// # Errors
    /// As the handler.
    pub async fn tick_at(&self, site: &str) -> Result<Vec<Outgoing>> {
        let vault = self.vault();
        let now = Arc::<TestClock>::clone(&self.clock).now();
        let envelope = Envelope::seal(Outgoing::new(&TimerTicked {}), vault.ulid().to_string(), "stillpoint/test", now);
        let invocation = Invocation::first(AttemptId::new(vault.ulid()));
        Ok(self.schedule(site).handle_as(Function::Schedule, envelope, &invocation).await?.events)
    }

    /// One tick of the timer, and all that follows from it, to its end.
    ///
    /// # Errors
    /// As [`World::tick`].
    pub async fn turn(&self) -> Result<()> {
        let events = self.tick().await?;
        self.run(&[], events, Vec::new()).await.map(drop)
    }

    /// Turns, one a minute, until so many minutes have gone by.
    ///
    /// # Errors
    /// As [`World::turn`].
    pub async fn minutes(&self, count: u32) -> Result<()> {
        let begin = self.clock.now();
        for minute in 1..=i64::from(count) {
            self.turn().await?;
            let due = begin.as_millisecond() + minute * 60_000;
            self.clock.jump((due - self.clock.now().as_millisecond()).max(0));
        }
        Ok(())
    }
}
