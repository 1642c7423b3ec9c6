//! Workers: every message is handled, comes again, or lies where an operator finds it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use stillpoint_broker::SHARDS;
use stillpoint_events::{BackupRequested, ENVELOPE_BYTES_MAX, Function, JobEnded, Outgoing, SegmentPlanned};
use stillpoint_handler::{Effects, Functions};
use stillpoint_model::Error;
use stillpoint_ports::Backlog;
use stillpoint_tests::servers::rabbitmq;
use tokio::sync::Notify;

use crate::{
    bench::{Bench, body, item, no_job, queue, until},
    scripted::{Act, Calls, Scripted, nothing},
};

fn segments(job: stillpoint_model::JobId, count: u32) -> Vec<Outgoing> {
    (0..count).map(|segment| Outgoing::new(&SegmentPlanned { job, segment })).collect()
}

fn transfer(calls: &Calls, act: Act) -> Functions {
    Functions::default().with(Function::Transfer, Scripted::<SegmentPlanned>::new(calls, act))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_is_handled_once_and_what_follows_is_published() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let job = bench.job().await.id;
    let (asked, ended) = (Calls::default(), Calls::default());
    let then: Act = Arc::new(move |_, _| Box::pin(async move { Ok(Effects { events: segments(job, 40) }) }));
    let calls = Calls::default();
    let handlers = transfer(&calls, nothing())
        .with(Function::Snapshot, Scripted::<BackupRequested>::new(&asked, then))
        .with(Function::Snapshot, Scripted::<JobEnded>::new(&ended, nothing()));
    let worker = bench.work(&[Function::Snapshot, Function::Transfer], handlers, 3);
    bench.publisher().publish(&[Outgoing::new(&BackupRequested { item: item(), job })]).await.unwrap();
    until("all segments were handled", || calls.count() >= 40).await;
    bench.quiet().await;
    worker.end().await.unwrap();
    let seen: BTreeSet<u64> = calls.all().iter().filter_map(|call| call.data["segment"].as_u64()).collect();
    assert_eq!((asked.count(), calls.count(), seen.len(), ended.count()), (1, 40, 40, 0));
    assert!(calls.all().iter().all(|call| !call.redelivered));
    assert!(bench.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_fails_for_a_while_comes_back_to_its_own_function_only() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let job = bench.job().await.id;
    let (troubled, untroubled) = (Calls::default(), Calls::default());
    let twice: Act = Arc::new(|number, _| {
        Box::pin(async move { if number < 2 { Err(Error::unavailable("not now")) } else { Ok(Effects::none()) } })
    });
    let handlers = Functions::default()
        .with(Function::Snapshot, Scripted::<JobEnded>::new(&troubled, twice))
        .with(Function::Restore, Scripted::<JobEnded>::new(&untroubled, nothing()));
    let worker = bench.work(&[Function::Snapshot, Function::Restore], handlers, 1);
    bench.publisher().publish(&[Outgoing::new(&JobEnded { job })]).await.unwrap();
    until("it was handled at last", || troubled.count() >= 3).await;
    bench.quiet().await;
    worker.end().await.unwrap();
    assert_eq!((troubled.count(), untroubled.count()), (3, 1));
    let redelivered: Vec<bool> = troubled.all().iter().map(|call| call.redelivered).collect();
    assert_eq!(redelivered, [false, true, true]);
    assert!(bench.dead().await.is_empty());
    let failures = bench.world.engine.job(job).await.unwrap().newest.failures;
    assert_eq!(failures.values().sum::<u32>(), 2, "both failures are in the ledger: {failures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_event_of_a_function_is_parked_with_the_reason() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    bench.publisher().ready(None).await.unwrap();
    let calls = Calls::default();
    let (snapshot, shard) = (queue(Function::Snapshot), queue(Function::Transfer));
    let unknown = String::from_utf8(body(segments(no_job(), 1).remove(0))).unwrap().replace("segment.planned", "pizza.ordered");
    let mut oversized = body(segments(no_job(), 1).remove(0));
    oversized.resize(ENVELOPE_BYTES_MAX + 1, b' ');
    let bad: [(&str, &str, Vec<u8>); 7] = [
        ("nothing", &shard, Vec::new()),
        ("noise", &shard, vec![0xff; 100]),
        ("JSON that is no envelope", &shard, b"{\"specversion\":\"1.0\"}".to_vec()),
        ("too long", &shard, oversized),
        ("unknown type", &shard, unknown.into_bytes()),
        ("another function's event", &snapshot, body(segments(no_job(), 1).remove(0))),
        ("an event of a job that does not exist", &shard, body(segments(no_job(), 2).remove(1))),
    ];
    for (_, queue, message) in &bad {
        bench.put(queue, message).await;
    }
    let handlers = transfer(&calls, nothing()).with(Function::Snapshot, Scripted::<JobEnded>::new(&calls, nothing()));
    let worker = bench.work(&[Function::Snapshot, Function::Transfer], handlers, 2);
    bench.quiet().await;
    worker.end().await.unwrap();
    let dead = bench.dead().await;
    for (what, queue, message) in &bad {
        let letter = dead.iter().find(|letter| letter.body == *message).unwrap_or_else(|| panic!("{what} is not parked"));
        assert_eq!(letter.queue, *queue, "{what}");
        assert!(letter.reason.len() > 10, "{what}: {}", letter.reason);
    }
    assert_eq!(dead.len(), bad.len());
    assert_eq!(calls.count(), 0, "only an event of the function and of a job reaches it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_kills_its_handler_is_put_aside_and_others_go_on() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let job = bench.job().await.id;
    let calls = Calls::default();
    let poison: Act = Arc::new(|_, call| {
        Box::pin(async move {
            assert!(call.data["segment"] != 1, "this one kills");
            Ok(Effects::none())
        })
    });
    let worker = bench.work(&[Function::Transfer], transfer(&calls, poison), 2);
    let publisher = bench.publisher();
    publisher.publish(&segments(job, 4)).await.unwrap();
    bench.quiet().await;
    let dead = bench.dead().await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert!(dead[0].reason.contains("delivery"), "{}", dead[0].reason);
    assert_eq!((dead[0].function, dead[0].job.as_deref()), (Function::Transfer, Some(job.to_string().as_str())));
    publisher.publish(&segments(job, 1)).await.unwrap();
    bench.quiet().await;
    worker.end().await.unwrap();
    let handled: BTreeSet<u64> = calls.all().iter().filter_map(|call| call.data["segment"].as_u64()).collect();
    assert_eq!(handled, BTreeSet::from([0, 1, 2, 3]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_stopped_ends_what_it_began_and_leaves_the_rest() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let job = bench.job().await.id;
    let (calls, finish) = (Calls::default(), Arc::new(Notify::new()));
    let slow: Act = {
        let finish = Arc::clone(&finish);
        Arc::new(move |_, _| {
            let finish = Arc::clone(&finish);
            Box::pin(async move {
                finish.notified().await;
                Ok(Effects { events: vec![Outgoing::new(&JobEnded { job })] })
            })
        })
    };
    bench.publisher().publish(&segments(job, 3 * SHARDS)).await.unwrap();
    let mut worker = bench.work(&[Function::Transfer], transfer(&calls, slow), 1);
    until("a message is in hand", || calls.count() == 1).await;
    worker.stop();
    tokio::time::sleep(Duration::from_millis(300)).await;
    finish.notify_one();
    worker.end().await.unwrap();
    assert_eq!(calls.count(), 1);
    let publisher = bench.publisher();
    // The end that it published lies in two queues.
    assert_eq!(publisher.waiting().await.unwrap(), u64::from(3 * SHARDS) - 1 + 2);
    assert!(bench.dead().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_the_messages() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let job = bench.job().await.id;
    let calls = [Calls::default(), Calls::default()];
    let slow: Act = Arc::new(|_, _| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(Effects::none())
        })
    });
    let workers: Vec<_> =
        calls.iter().map(|calls| bench.work(&[Function::Transfer], transfer(calls, Arc::clone(&slow)), 2)).collect();
    bench.publisher().publish(&segments(job, 60)).await.unwrap();
    until("all were handled", || calls.iter().map(Calls::count).sum::<usize>() >= 60).await;
    bench.quiet().await;
    for worker in workers {
        worker.end().await.unwrap();
    }
    let shares = calls.each_ref().map(Calls::count);
    assert_eq!(shares[0] + shares[1], 60);
    assert!(shares.iter().all(|share| *share > 10), "{shares:?}");
}
