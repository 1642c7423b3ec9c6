//! A publish counts when the broker has the message in a queue, and never waits for ever.

use std::time::Duration;

use stillpoint_events::{Function, JobEnded, Outgoing, SegmentPlanned, TimerTicked};
use stillpoint_model::ErrorKind;
use stillpoint_ports::Backlog;
use stillpoint_tests::servers::{rabbitmq, rabbitmq_alone};

use crate::bench::{Bench, no_job, queue};

/// As long as a test has patience.
const SHORT: Duration = Duration::from_secs(2);

fn segment(segment: u32) -> Outgoing {
    Outgoing::new(&SegmentPlanned { job: no_job(), segment })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_lies_in_the_queues_of_its_consumers() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let publisher = bench.publisher();
    let events: Vec<Outgoing> = (0..8).map(segment).chain([Outgoing::new(&JobEnded { job: no_job() })]).collect();
    publisher.publish(&events).await.unwrap();
    // An end is told to the functions that may hold something of the job: two of them.
    assert_eq!(publisher.waiting().await.unwrap(), 8 + 2);
    crate::bench::until("every shard has its share", || {
        let shares = publisher.topology().places_of(Function::Transfer).map(|place| bench.left(&place.queue));
        shares.into_iter().all(|share| share == (2, 0))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_no_queue_takes_is_an_error() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let publisher = bench.publisher().within(SHORT);
    // The timer calls its function; there is no queue.
    let error = publisher.publish(&[Outgoing::new(&TimerTicked {})]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.one_line().contains("no queue takes"), "{}", error.one_line());
    publisher.publish(&[segment(0)]).await.expect("the next message is no worse for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_somebody_deleted_is_made_again() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let publisher = bench.publisher();
    publisher.publish(&[Outgoing::new(&JobEnded { job: no_job() })]).await.unwrap();
    for place in publisher.topology().places() {
        node.delete_queue(&bench.vhost, &place.queue);
    }
    publisher.publish(&[segment(0)]).await.unwrap();
    assert_eq!(publisher.waiting().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_broker_refuses_is_an_error() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let publisher = bench.publisher().within(SHORT);
    publisher.ready(None).await.unwrap();
    let pattern = format!("^{}$", queue(Function::Transfer).replace('.', "\\."));
    node.ctl(&["set_policy", "-p", &bench.vhost, "full", &pattern, r#"{"max-length":2}"#, "--apply-to", "queues"]);
    let mut refused = None;
    for number in 0..20_u32 {
        let of_first_shard = publisher.topology().routing_key(&segment(number)).ends_with(".0");
        if of_first_shard && let Err(error) = publisher.publish(&[segment(number)]).await {
            refused = Some(error);
            break;
        }
    }
    let refused = refused.expect("a queue of two takes no five");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.one_line().contains("refused a message"), "{}", refused.one_line());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_broker_does_not_hold_a_publisher() {
    let node = rabbitmq_alone();
    let bench = Bench::new(&node).await;
    let publisher = bench.publisher().within(SHORT);
    publisher.publish(&[segment(0)]).await.unwrap();
    node.block();
    let error = publisher.publish(&[segment(1)]).await;
    node.unblock();
    let error = error.expect_err("nobody can publish now");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.one_line().contains("correct-horse"), "{}", error.one_line());
    publisher.publish(&[segment(2)]).await.unwrap();
}
