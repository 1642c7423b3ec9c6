//! Two worlds whose vaults are a pair.

use std::sync::Arc;

use stillpoint_events::RecoveryPointCommitted;
use stillpoint_jobs::Engine;
use stillpoint_model::Result;
use stillpoint_replicate::Follow;
use stillpoint_vault::Wanted;

use crate::{
    Content, World,
    world::{URL, over},
};

/// Where a world's replica lies.
const REPLICA_URL: &str = "memory:///replica";
/// ... and that of a replica that was promoted.
const NEXT_URL: &str = "memory:///next";

impl World {
    /// The world of another region, with a replica of this one's vault, beside the same hypervisor.
    ///
    /// # Errors
    /// As [`Vault::pair`].
    pub async fn pair(&self, wanted: Wanted) -> Result<Self> {
        let content = Content::default();
        let url = if self.url == URL { REPLICA_URL } else { NEXT_URL };
        let (store, opened) = over(&content, self.random.next(), url);
        self.regions.reach(url, &store);
        let vault = self.vault().pair(opened, url, self.url, wanted).await?;
        store.reset();
        Ok(Self {
            content,
            store,
            platform: Arc::clone(&self.platform),
            target: self.target.clone(),
            clock: Arc::clone(&self.clock),
            engine: Engine::new(vault),
            regions: self.regions.clone(),
            url,
            random: Arc::clone(&self.random),
            secret: self.secret,
        })
    }

    /// What follows the primary's points in a process of this world.
    #[must_use]
    pub fn follow(&self) -> Follow {
        Follow::new(&self.wiring())
    }

    /// A process of this world hears of a point, and does all that follows from it.
    ///
    /// # Errors
    /// As [`World::run`].
    pub async fn hear(&self, committed: &RecoveryPointCommitted) -> Result<()> {
        let events = self.follow().events(committed).await;
        self.run(&[], events, Vec::new()).await.map(drop)
    }

    /// From here on this world reaches the vault of another one, its other half, through that one's connection.
    pub fn reach(&self, other: &Self) {
        self.regions.reach(other.url, &other.store);
    }

    /// The vault of the other half does not answer any more.
    pub fn lose(&self, other: &Self) {
        self.regions.lose(other.url);
    }
}
