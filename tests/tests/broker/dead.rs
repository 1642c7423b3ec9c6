//! Dead letters: an operator looks at them as often as they like, puts them back or throws them away.

use std::collections::BTreeSet;

use stillpoint_broker::DeadLetters;
use stillpoint_events::{Function, Outgoing, SegmentPlanned};
use stillpoint_ports::Backlog;
use stillpoint_tests::servers::rabbitmq;

use crate::bench::{Bench, body, no_job, queue};

/// Parks segments 0 to `count` of a job, and one message that is no event.
async fn park(bench: &Bench<'_>, count: u32) {
    let publisher = bench.publisher();
    for segment in 0..count {
        let event = Outgoing::new(&SegmentPlanned { job: no_job(), segment });
        let shards: Vec<_> = publisher.topology().places_of(Function::Transfer).map(|place| place.queue.clone()).collect();
        let queue = &shards[segment as usize % shards.len()];
        publisher.park(Function::Transfer, queue, &body(event), &format!("segment {segment} is tired")).await.unwrap();
    }
    publisher.park(Function::Commit, &queue(Function::Commit), b"no event", "it is no event").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn looking_takes_nothing_away() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    park(&bench, 3).await;
    let letters = DeadLetters::new(bench.publisher());
    let first = letters.list().await.unwrap();
    assert_eq!(first.len(), 4);
    for _ in 0..30 {
        let mut again = letters.list().await.unwrap();
        again.sort_by(|left, right| left.id.cmp(&right.id));
        let mut once = first.clone();
        once.sort_by(|left, right| left.id.cmp(&right.id));
        assert_eq!(again, once);
    }
    let stranger = first.iter().find(|letter| letter.function == Function::Commit).unwrap();
    assert_eq!((&*stranger.reason, &stranger.event_type, &stranger.job), ("it is no event", &None, &None));
    let tired = first.iter().find(|letter| letter.reason == "segment 1 is tired").unwrap();
    assert_eq!(tired.job, Some(no_job().to_string()));
    assert_eq!(tired.event_type.as_deref(), Some("io.stillpoint.segment.planned.v1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_are_listed_put_back_and_thrown_away() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    park(&bench, 100).await;
    let (letters, publisher) = (DeadLetters::new(bench.publisher()), bench.publisher());
    let all = letters.list().await.unwrap();
    let ids: BTreeSet<&String> = all.iter().map(|letter| &letter.id).collect();
    assert_eq!((all.len(), ids.len()), (101, 101));
    let one = all.iter().find(|letter| letter.function == Function::Transfer).unwrap();
    assert_eq!(letters.redrive(|letter| letter.id == one.id).await.unwrap(), std::slice::from_ref(one));
    assert_eq!(publisher.waiting().await.unwrap(), 1);
    crate::bench::until("it lies in the queue it came from", || bench.left(&one.queue) == (1, 0)).await;
    let dropped = letters.discard(|letter| letter.function == Function::Commit).await.unwrap();
    assert_eq!(dropped.len(), 1);
    assert_eq!(letters.list().await.unwrap().len(), 99);
    assert_eq!(letters.redrive(|_| true).await.unwrap().len(), 99);
    assert_eq!(publisher.waiting().await.unwrap(), 100);
    assert!(letters.list().await.unwrap().is_empty());
    assert!(letters.redrive(|_| true).await.unwrap().is_empty() && letters.discard(|_| true).await.unwrap().is_empty());
    for place in publisher.topology().places_of(Function::Transfer) {
        crate::bench::until("each shard has its own back", || bench.left(&place.queue) == (25, 0)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_claims_a_foreign_queue_goes_back_to_its_own_function() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let publisher = bench.publisher();
    publisher.park(Function::Commit, "somebody.elses", b"claims", "forged").await.unwrap();
    let letters = DeadLetters::new(bench.publisher());
    assert_eq!(letters.list().await.unwrap()[0].queue, queue(Function::Commit));
    letters.redrive(|_| true).await.unwrap();
    assert_eq!(publisher.waiting().await.unwrap(), 1);
}
