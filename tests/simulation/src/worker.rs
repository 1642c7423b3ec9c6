use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use async_trait::async_trait;
use stillpoint_jobs::{Engine, Place, Wiring};
use stillpoint_model::Result;
use stillpoint_notify::Telling;
use stillpoint_ports::{Backlog, Clock, Platforms};
use stillpoint_runtime::Dispatcher;
use stillpoint_testkit::{FaultyStore, ITEM_PLATFORM, InlineCpu, SITE, TestRandom, World};

use crate::{
    platform::FlakyPlatform,
    time::{ProcessClock, Time},
};

/// Fast, and frames still shrink.
const LEVEL: i32 = 1;
const STALLED_AFTER: Duration = Duration::from_secs(600);

struct NothingWaits;

#[async_trait]
impl Backlog for NothingWaits {
    async fn waiting(&self) -> Result<u64> {
        Ok(0)
    }
}

/// One process: all functions over a connection and by a clock of its own.
pub(crate) struct Worker {
    pub(crate) process: u64,
    pub(crate) store: FaultyStore,
    pub(crate) clock: Arc<ProcessClock>,
    pub(crate) engine: Engine,
    pub(crate) dispatcher: Dispatcher,
}

impl Worker {
    pub(crate) async fn start(
        world: &World,
        time: &Arc<Time>,
        platform: &Arc<FlakyPlatform>,
        process: u64,
        (seed, skew_ms): (u64, i64),
    ) -> Result<Self> {
        let clock = Arc::new(ProcessClock { time: Arc::clone(time), skew: AtomicI64::new(skew_ms) });
        let random = Arc::new(TestRandom::new(seed));
        let store = FaultyStore::new(world.content.clone(), random.next());
        let vault = world.open(&store, Arc::<ProcessClock>::clone(&clock), random).await?;
        let engine = Engine::new(vault);
        let wiring = Wiring {
            engine: engine.clone(),
            place: Place::of_site(SITE),
            platforms: Platforms::default().with(ITEM_PLATFORM, Arc::<FlakyPlatform>::clone(platform)),
            target: Arc::new(world.target.clone()),
            cpu: Arc::new(InlineCpu),
            progress: Arc::new(()),
            regions: Arc::new(world.regions.clone()),
            level: LEVEL,
        };
        let timer = stillpoint_schedule::functions(&wiring, Arc::new(NothingWaits), STALLED_AFTER);
        let functions = World::wired(&wiring, Telling::Log).and(timer);
        let ticking: Arc<dyn Clock> = Arc::<ProcessClock>::clone(&clock);
        let dispatcher = Dispatcher::new(engine.clone(), functions, ticking).at(SITE).alone();
        store.reset();
        Ok(Self { process, store, clock, engine, dispatcher })
    }
}
