use stillpoint_jobs::{Carrier, Operation, Request};
use stillpoint_model::JobState;
use stillpoint_runtime::begin_job;

use crate::fleet::world;

#[tokio::test]
async fn a_task_that_is_stopped_has_ended_whoever_listens() {
    let world = world(91, 1, "every = \"1h\"", "").await;
    for what in [Operation::Prune, Operation::Collect, Operation::Verify { item: None, read: None }] {
        let request = Request { what, host: "testhost".to_owned(), carrier: Carrier::Process };
        let begun = begin_job(&world.engine, request).await.unwrap();
        world.engine.stop(begun.job.id, JobState::Cancelled, "no longer wanted").await.unwrap();
        let job = world.engine.job(begun.job.id).await.unwrap();
        assert_eq!((job.state(), job.newest.reason.as_deref()), (JobState::Cancelled, Some("no longer wanted")));
        // Its event comes late, and does nothing.
        world.run(&[job.id], begun.events, Vec::new()).await.unwrap();
        assert_eq!(world.engine.job(job.id).await.unwrap(), job);
    }
    assert_eq!(world.leftovers().await.unwrap(), [""; 0]);
}
