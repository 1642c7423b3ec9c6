//! What the replica does when it hears of a point, and what it leaves to its timer.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use stillpoint_events::{Contract, Envelope, Function, Outgoing, RecoveryPointCommitted, ReplicateRequested};
use stillpoint_handler::{Functions, Invocation};
use stillpoint_jobs::{Carrier, Job, Operation, Request};
use stillpoint_model::{AttemptId, Extent, ItemName, JobId, JobState};
use stillpoint_ports::Clock;
use stillpoint_runtime::{Dispatcher, Message, Settled};
use stillpoint_testkit::{Disk, TestClock, World};

use crate::{
    machine::{a_day_passes, assert_sound, machine},
    pairs::*,
};

/// A pair that has the same, and then a point that the primary alone has.
async fn one_ahead(seed: u64) -> (World, World, RecoveryPointCommitted) {
    let (primary, replica) = pair(seed, 1).await;
    replicate_all(&replica).await;
    let committed = commit(&primary, &machine()).await;
    a_day_passes(&primary, seed + 50);
    (primary, replica.restart().await.unwrap(), committed)
}

async fn commit(primary: &World, item: &ItemName) -> RecoveryPointCommitted {
    let job = primary.backup(item).await.unwrap();
    RecoveryPointCommitted { item: item.clone(), point: job.newest.outcome.unwrap().point.unwrap(), job: job.id }
}

/// Jobs that copy the points of one machine alone.
async fn followed(replica: &World) -> Vec<Job> {
    let mut jobs = Vec::new();
    for listing in replica.engine.jobs().await.unwrap() {
        let job = replica.engine.job(listing.id).await.unwrap();
        if matches!(job.request.what, Operation::Replicate { item: Some(_), .. }) {
            jobs.push(job);
        }
    }
    jobs
}

async fn begin(replica: &World, item: Option<ItemName>) {
    let what = Operation::Replicate { item, records: false };
    let request = Request { what, host: "elsewhere".to_owned(), carrier: Carrier::Broker };
    replica.engine.create(JobId::new(replica.vault().ulid()), request).await.unwrap();
}

#[tokio::test]
async fn a_point_that_is_heard_of_often_is_one_job_and_copied_once() {
    let (primary, replica, committed) = one_ahead(55_000).await;
    let before = pack_bytes(&replica).await;
    let other = replica.restart().await.unwrap();
    let (first, second) = (replica.follow(), other.follow());
    // Two processes at once, one of which dies before anybody hears of the job.
    let (lost, events) = futures_util::future::join(first.events(&committed), second.events(&committed)).await;
    assert_eq!((lost.len(), &lost), (1, &events));
    replica.run(&[], events, Vec::new()).await.unwrap();
    for world in [&replica, &other, &replica.restart().await.unwrap()] {
        assert_eq!(world.follow().events(&committed).await, []);
    }
    let [job] = &followed(&replica).await[..] else { panic!("{:?}", followed(&replica).await) };
    assert_eq!(job.state(), JobState::Completed, "{:?}", job.newest);
    assert_eq!((count(job, "points"), count(job, "moved_bytes")), (1, pack_bytes(&replica).await - before));
    assert_eq!(points(&replica).await, points(&primary).await);
    replica.lose(&primary);
    assert_sound(&replica.restart().await.unwrap(), "without the primary").await;
}

#[tokio::test]
async fn what_the_primary_does_not_have_or_the_replica_has_is_no_job() {
    let (primary, replica, committed) = one_ahead(55_100).await;
    let elsewhere: ItemName = "db-01".parse().unwrap();
    let nobodys = "01JQ1D5V8CWN3H2TSX0R9F4KMB".parse().unwrap();
    let there = points(&replica).await[0];
    for forged in [
        RecoveryPointCommitted { point: nobodys, ..committed.clone() },
        RecoveryPointCommitted { item: elsewhere, ..committed.clone() },
        RecoveryPointCommitted { point: there, ..committed.clone() },
    ] {
        replica.hear(&forged).await.unwrap();
    }
    // Nor is anything copied to a vault that is no replica, from one that does not answer, or long after.
    primary.hear(&committed).await.unwrap();
    replica.lose(&primary);
    replica.hear(&committed).await.unwrap();
    replica.reach(&primary);
    primary.clock.jump(31 * 60_000);
    replica.hear(&committed).await.unwrap();
    assert_eq!((followed(&primary).await, followed(&replica).await), (Vec::new(), Vec::new()));
    replica.minutes(2).await.unwrap();
    assert_eq!(points(&replica).await, points(&primary).await, "the timer copies what was heard too late");
}

#[tokio::test]
async fn a_promoted_vault_follows_nothing() {
    let (_primary, replica, committed) = one_ahead(55_200).await;
    replica.vault().promote().await.unwrap();
    replica.hear(&committed).await.unwrap();
    assert_eq!(followed(&replica).await, []);
}

#[tokio::test]
async fn what_a_job_copies_already_is_left_to_it() {
    for item in [None, Some(machine())] {
        let (_primary, replica, committed) = one_ahead(55_300).await;
        begin(&replica, item.clone()).await;
        assert_eq!(replica.follow().events(&committed).await, [], "{item:?}");
    }
}

#[tokio::test]
async fn jobs_of_other_machines_keep_neither_a_point_nor_the_timer() {
    let (primary, replica, committed) = one_ahead(55_400).await;
    begin(&replica, Some("db-01".parse().unwrap())).await;
    let lost = replica.follow().events(&committed).await;
    assert_eq!(lost.len(), 1);
    let copies = |events: &[Outgoing]| events.iter().any(|event| event.event_type == ReplicateRequested::TYPE);
    assert!(!copies(&replica.tick().await.unwrap()), "a job of this machine has it");
    replica.run(&[], lost, Vec::new()).await.unwrap();
    commit(&primary, &machine()).await;
    assert!(copies(&replica.restart().await.unwrap().tick().await.unwrap()), "a point that nobody told of");
}

/// Two machines whose disks are alike, and whose points were committed at the same moment.
#[tokio::test]
async fn packs_that_machines_share_are_moved_once() {
    let (primary, replica) = pair(55_500, 1).await;
    replicate_all(&replica).await;
    let mut told = Vec::new();
    for name in ["clone-a", "clone-b"] {
        let mut disk = Disk::new(4 << 20);
        disk.write_noise(Extent::new(0, 4 << 20), 7);
        primary.platform.put(&format!("{name}/os"), disk);
        let item: ItemName = name.parse().unwrap();
        primary.protect(&item, &["os".parse().unwrap()]).await.unwrap();
        told.push(commit(&primary, &item).await);
    }
    let before = pack_bytes(&replica).await;
    let functions = replica.functions();
    let mut planned = Vec::new();
    for committed in &told {
        for event in replica.follow().events(committed).await {
            let envelope = Envelope::seal(event, "test".to_owned(), "stillpoint/test", Timestamp::UNIX_EPOCH);
            let invocation = Invocation::first(AttemptId::new(replica.vault().ulid()));
            planned.push(functions.handle(envelope, &invocation).await.unwrap().events);
        }
    }
    assert_eq!(planned.len(), 2);
    let shared: BTreeSet<String> = names(&primary, "packs/clone-a/").await.into_iter().collect();
    assert!(!shared.is_empty());
    for events in planned {
        replica.run(&[], events, Vec::new()).await.unwrap();
    }
    let jobs = followed(&replica).await;
    let [first, second] = &jobs[..] else { panic!("{jobs:?}") };
    assert!(count(second, "packs") > names(&primary, "packs/clone-b/").await.len() as u64, "both need those of the first");
    let moved = count(first, "moved_bytes") + count(second, "moved_bytes");
    assert_eq!(moved, pack_bytes(&replica).await - before, "{first:?} {second:?}");
}

/// A worker gets it with the id of a job that is the primary's, of another site.
#[tokio::test]
async fn a_worker_looks_at_it_and_parks_nothing() {
    let (_primary, replica, committed) = one_ahead(55_600).await;
    let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&replica.clock);
    let functions = replica.functions().and(Functions::default().with(Function::Replicate, replica.follow()));
    let dispatcher = Dispatcher::new(replica.engine.clone(), functions, clock).at("far");
    let nobodys = RecoveryPointCommitted { item: "db-01".parse().unwrap(), ..committed.clone() };
    for (event, requested) in [(nobodys, 0), (committed, 1)] {
        let envelope = Envelope::seal(Outgoing::new(&event), "test".to_owned(), "stillpoint/test", Timestamp::UNIX_EPOCH);
        let body = serde_json::to_vec(&envelope).unwrap();
        let message = Message { function: Function::Replicate, body: &body, redelivered: false, time_left: None };
        let Settled::Done(events) = dispatcher.dispatch(message).await else { panic!("{event:?} is put aside") };
        assert_eq!(events.len(), requested, "{events:?}");
    }
}
