//! Giving back what a stopped job holds takes its time.

use std::{sync::Arc, time::Duration};

use stillpoint_events::{Envelope, Function, JobEnded};
use stillpoint_handler::{Effects, Functions, Handler, Invocation};
use stillpoint_jobs::{Carrier, Engine, Operation, Request};
use stillpoint_model::{Consistency, JobState, Result};
use stillpoint_ports::Clock;
use stillpoint_runtime::{Host, begin_backup};
use stillpoint_testkit::TestClock;

use crate::machine::{machine, world};

/// Ends a job after minutes.
struct Slow {
    engine: Engine,
    clock: Arc<TestClock>,
}

impl Handler for Slow {
    type Event = JobEnded;

    async fn handle(&self, event: Envelope<JobEnded>, _invocation: &Invocation) -> Result<Effects> {
        self.clock.sleep(Duration::from_secs(300)).await;
        let job = self.engine.job(event.data.job).await?;
        self.engine.end(&job, JobState::Cancelled, "slowly").await?;
        Ok(Effects::none())
    }
}

#[tokio::test]
async fn a_slow_end_is_not_taken_for_something_to_end() {
    let world = world(6000).await;
    let what = Operation::Backup {
        item: machine(),
        wanted: Consistency::Crash,
        keep_until: None,
        slot: None,
        instant_restore_seconds: 0,
        snapshot_only: false,
    };
    let begun = begin_backup(&world.engine, Request { what, host: "testhost".into(), carrier: Carrier::Process }).await.unwrap();
    let id = begun.job.id;
    let ended = world.engine.stop(id, JobState::Cancelled, "by the operator").await.unwrap();
    let slow = Slow { engine: world.engine.clone(), clock: Arc::clone(&world.clock) };
    let functions = Functions::default().with(Function::Snapshot, slow);
    let host = Host::new(world.engine.clone(), functions, Arc::<TestClock>::clone(&world.clock), 3);
    let left = host.run(vec![ended], begun.lock.into_iter().collect()).await;
    let job = world.engine.job(id).await.unwrap();
    assert_eq!(job.state(), JobState::Cancelled, "{left:?}");
}
