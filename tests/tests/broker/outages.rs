//! A broker that goes away, falls silent, or loses what it had.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use stillpoint_events::{Function, JobEnded, Outgoing, SegmentPlanned};
use stillpoint_handler::{Effects, Functions};
use stillpoint_tests::servers::{Ending, rabbitmq, rabbitmq_alone};
use tokio::sync::Notify;

use crate::{
    bench::{Bench, until},
    scripted::{Act, Calls, Scripted, nothing},
};

fn ended(calls: &Calls, act: Act) -> Functions {
    Functions::default().with(Function::Snapshot, Scripted::<JobEnded>::new(calls, act))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_in_the_middle_repeats_the_message_and_a_late_acknowledgement_hurts_nobody() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let job = bench.job().await.id;
    let (calls, finish) = (Calls::default(), Arc::new(Notify::new()));
    let slow: Act = {
        let finish = Arc::clone(&finish);
        Arc::new(move |number, _| {
            let finish = Arc::clone(&finish);
            Box::pin(async move {
                if number == 0 {
                    finish.notified().await;
                }
                Ok(Effects::none())
            })
        })
    };
    let worker = bench.work(&[Function::Snapshot], ended(&calls, slow), 1);
    let publisher = bench.publisher();
    publisher.publish(&[Outgoing::new(&JobEnded { job })]).await.unwrap();
    until("it is in hand", || calls.count() == 1).await;
    node.close_connections(&bench.vhost);
    tokio::time::sleep(Duration::from_millis(500)).await;
    finish.notify_one();
    until("it was handled again", || calls.count() >= 2).await;
    publisher.publish(&[Outgoing::new(&JobEnded { job })]).await.unwrap();
    until("the next one was handled too", || calls.count() >= 3).await;
    let snapshot = crate::bench::queue(Function::Snapshot);
    until("nothing is left", || bench.left(&snapshot) == (0, 0)).await;
    worker.end().await.unwrap();
    assert_eq!(calls.count(), 3);
    assert!(calls.all()[1].redelivered, "the handler is told that it may have come before");
    assert!(bench.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_deleted_under_its_consumer_is_made_again_and_consumed() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let job = bench.job().await.id;
    let calls = Calls::default();
    let worker = bench.work(&[Function::Snapshot, Function::Commit], ended(&calls, nothing()), 1);
    let publisher = bench.publisher();
    publisher.publish(&[Outgoing::new(&JobEnded { job })]).await.unwrap();
    until("it consumes", || calls.count() == 1).await;
    let queue = crate::bench::queue(Function::Snapshot);
    node.delete_queue(&bench.vhost, &queue);
    // Nobody publishes, so that only the worker can notice.
    until("its worker has noticed", || node.depths(&bench.vhost).get(&queue).is_some_and(|depth| depth.consumers == 1)).await;
    publisher.publish(&[Outgoing::new(&JobEnded { job })]).await.unwrap();
    until("it consumes again", || calls.count() == 2).await;
    worker.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_waits_for_a_blocked_broker_with_the_message_in_hand() {
    let node = rabbitmq_alone();
    let bench = Bench::new(&node).await;
    let job = bench.job().await.id;
    let (calls, finish) = (Calls::default(), Arc::new(Notify::new()));
    let then: Act = {
        let finish = Arc::clone(&finish);
        Arc::new(move |_, _| {
            let finish = Arc::clone(&finish);
            Box::pin(async move {
                finish.notified().await;
                Ok(Effects { events: vec![Outgoing::new(&SegmentPlanned { job, segment: 0 })] })
            })
        })
    };
    let worker = bench.work(&[Function::Snapshot], ended(&calls, then), 1);
    bench.publisher().publish(&[Outgoing::new(&JobEnded { job })]).await.unwrap();
    until("it is in hand", || calls.count() == 1).await;
    node.block();
    finish.notify_one();
    let snapshot = crate::bench::queue(Function::Snapshot);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.left(&snapshot), (0, 1), "it is not acknowledged before what follows from it is published");
    node.unblock();
    let publisher = bench.publisher();
    until("it is acknowledged", || bench.left(&snapshot) == (0, 0)).await;
    worker.end().await.unwrap();
    // Once, or twice where the broker took it and could not say so.
    let shards = publisher.topology().places_of(Function::Transfer).map(|place| bench.left(&place.queue).0);
    assert!((1..=2).contains(&shards.into_iter().sum::<u64>()));
    assert_eq!(calls.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_started_again_loses_nothing_that_it_confirmed() {
    let mut node = rabbitmq_alone();
    let (job, url, calls, confirmed, worker) = {
        let bench = Bench::new(&node).await;
        let job = bench.job().await.id;
        let calls = Calls::default();
        let handlers = Functions::default().with(Function::Transfer, Scripted::<SegmentPlanned>::new(&calls, nothing()));
        let worker = bench.work(&[Function::Transfer], handlers, 2);
        bench.publisher().ready(None).await.unwrap();
        (job, bench.url().to_owned(), calls, Arc::new(std::sync::Mutex::new(BTreeSet::new())), worker)
    };
    let publishing = {
        let (publisher, confirmed) = (crate::bench::publisher(&url), Arc::clone(&confirmed));
        tokio::spawn(async move {
            for segment in 0..u32::MAX {
                if publisher.publish(&[Outgoing::new(&SegmentPlanned { job, segment })]).await.is_ok() {
                    confirmed.lock().unwrap().insert(u64::from(segment));
                }
            }
        })
    };
    let some = |more: usize| {
        let before = confirmed.lock().unwrap().len();
        let confirmed = Arc::clone(&confirmed);
        async move { until("messages are confirmed", || confirmed.lock().unwrap().len() >= before + more).await }
    };
    some(50).await;
    node.restart(Ending::Killed);
    some(50).await;
    publishing.abort();
    let seen = || calls.all().iter().filter_map(|call| call.data["segment"].as_u64()).collect::<BTreeSet<u64>>();
    until("all that was confirmed is handled", || confirmed.lock().unwrap().is_subset(&seen())).await;
    worker.end().await.unwrap();
}
