//! What can be forged is a message: it can make functions look, and nothing else. Every forgery at every moment of a job's life.

use std::collections::VecDeque;

use stillpoint_events::{
    BackupRequested, CollectRequested, Contract, Envelope, JobEnded, Outgoing, PruneRequested, RecoveryPointCommitted,
    ReplicateRequested, ReplicateSegmentPlanned, ReplicateSegmentsCopied, RestoreRequested, RestoreSegmentPlanned,
    RestoreSegmentsWritten, SegmentPlanned, SegmentsTransferred, SnapshotExpired, VerifyRequested, VerifySegmentPlanned,
    VerifySegmentsRead, all,
};
use stillpoint_jobs::{Carrier, Job, Operation, Request};
use stillpoint_model::{Consistency, Extent, ItemName, JobId, JobState, PointId};
use stillpoint_ports::Clock;
use stillpoint_runtime::{Dispatcher, Message, Settled, begin_backup, begin_job};
use stillpoint_testkit::{Disk, World};

use crate::bench::{SITE, item};

/// Size of the larger disk: two segments; the other has one.
const DISK_BYTES: u64 = 80 << 20;
/// Deliveries after which a job must have ended, several times over.
const DELIVERIES_MAX: usize = 500;

/// Hands events to all their consumers, as workers do, and keeps what was parked.
struct Post<'a> {
    world: &'a World,
    dispatcher: Dispatcher,
    queue: VecDeque<Outgoing>,
    parked: Vec<String>,
}

impl<'a> Post<'a> {
    fn new(world: &'a World, events: Vec<Outgoing>) -> Self {
        let clock: std::sync::Arc<dyn Clock> = std::sync::Arc::<stillpoint_testkit::TestClock>::clone(&world.clock);
        let dispatcher = Dispatcher::new(world.engine.clone(), world.functions(), clock).at(SITE);
        Self { world, dispatcher, queue: events.into(), parked: Vec::new() }
    }

    /// Delivers one event to every function that has a queue for it.
    async fn deliver(&mut self, event: &Outgoing) {
        let known = all();
        let description = known.iter().find(|known| known.event_type == event.event_type).expect("a known event");
        for function in description.consumers {
            let envelope = Envelope::seal(event.clone(), "forged".to_owned(), "stillpoint/test", self.world.clock.now());
            let body = serde_json::to_vec(&envelope).unwrap();
            let message = Message { function: *function, body: &body, redelivered: false, time_left: None };
            match self.dispatcher.dispatch(message).await {
                Settled::Done(events) => self.queue.extend(events),
                Settled::Parked(reason) => self.parked.push(reason),
                Settled::Later(_) => self.queue.push_back(event.clone()),
            }
        }
    }

    /// Delivers the job's own events, and before the `moment`th of them these.
    async fn run(&mut self, moment: usize, forged: &[Outgoing]) -> usize {
        for delivered in 0..DELIVERIES_MAX {
            if delivered == moment {
                for event in forged {
                    self.deliver(event).await;
                }
            }
            let Some(event) = self.queue.pop_front() else { return delivered };
            self.deliver(&event).await;
        }
        panic!("events without end: {:?}", self.queue);
    }
}

/// A machine with a point, `other`, whose backup was done in this process.
struct Scene {
    world: World,
    other: PointId,
}

async fn scene(seed: u64) -> Scene {
    let world = World::new((u64::from(std::process::id()) << 16) | seed).await.unwrap();
    let mut os = Disk::new(DISK_BYTES);
    os.write_zeros(Extent::new(0, DISK_BYTES));
    os.write_noise(Extent::new(40 << 20, 200_000), seed);
    let mut data = Disk::new(1 << 20);
    data.write_noise(Extent::new(0, 1 << 20), seed + 1);
    for (name, disk) in [("os", os), ("data", data)] {
        world.platform.put(&format!("{}/{name}", item()), disk);
    }
    world.protect(&item(), &["os", "data"].map(|name| name.parse().unwrap())).await.unwrap();
    let job = world.backup(&item()).await.unwrap();
    let other = job.newest.outcome.unwrap().point.unwrap();
    Scene { world, other }
}

fn request(what: Operation) -> Request {
    Request { what, host: SITE.to_owned(), carrier: Carrier::Broker }
}

/// Everything that a stranger can say about a job.
fn forgeries(job: JobId, other: PointId) -> Vec<Vec<Outgoing>> {
    let foreign: ItemName = "db-01".parse().unwrap();
    let nobody: PointId = "01JQ1D5V8CWN3H2TSX0R9F4KMB".parse().unwrap();
    let committed = |item: ItemName, point| Outgoing::new(&RecoveryPointCommitted { item, point, job });
    let single = vec![
        Outgoing::new(&BackupRequested { item: item(), job }),
        Outgoing::new(&BackupRequested { item: foreign.clone(), job }),
        Outgoing::new(&SegmentPlanned { job, segment: 0 }),
        Outgoing::new(&SegmentPlanned { job, segment: 3 }),
        Outgoing::new(&SegmentPlanned { job, segment: u32::MAX }),
        Outgoing::new(&SegmentsTransferred { job }),
        committed(item(), other),
        committed(item(), nobody),
        Outgoing::new(&SnapshotExpired { item: item(), job }),
        Outgoing::new(&SnapshotExpired { item: foreign.clone(), job }),
        committed(foreign, other),
        Outgoing::new(&JobEnded { job }),
        Outgoing::new(&RestoreRequested { job }),
        Outgoing::new(&RestoreSegmentPlanned { job, segment: 0 }),
        Outgoing::new(&RestoreSegmentPlanned { job, segment: u32::MAX }),
        Outgoing::new(&RestoreSegmentsWritten { job }),
        Outgoing::new(&PruneRequested { job }),
        Outgoing::new(&CollectRequested { job }),
        Outgoing::new(&VerifyRequested { job }),
        Outgoing::new(&VerifySegmentPlanned { job, segment: 0 }),
        Outgoing::new(&VerifySegmentPlanned { job, segment: u32::MAX }),
        Outgoing::new(&VerifySegmentsRead { job }),
        Outgoing::new(&ReplicateRequested { job }),
        Outgoing::new(&ReplicateSegmentPlanned { job, segment: 0 }),
        Outgoing::new(&ReplicateSegmentPlanned { job, segment: u32::MAX }),
        Outgoing::new(&ReplicateSegmentsCopied { job }),
    ];
    // Each alone, since one may hide what another does, and each twice.
    single.into_iter().map(|event| vec![event.clone(), event]).collect()
}

/// Asserts that a job came to a good end, whatever was said about it.
async fn assert_unharmed(world: &World, job: &Job, post: &Post<'_>, what: &str) {
    let ended = world.engine.job(job.id).await.unwrap();
    assert_eq!(ended.state(), JobState::Completed, "{what}: {:?}; parked: {:?}", ended.newest.reason, post.parked);
    assert_eq!(world.leftovers().await.unwrap(), [] as [String; 0], "{what}");
}

#[tokio::test]
async fn no_forged_message_harms_a_backup() {
    let scene = scene(1).await;
    let begin = |world: World| async move {
        let what = Operation::Backup {
            item: item(),
            wanted: Consistency::Crash,
            keep_until: None,
            slot: None,
            instant_restore_seconds: 0,
            snapshot_only: false,
        };
        let begun = begin_backup(&world.engine, request(what)).await.unwrap();
        (world, begun)
    };
    let (world, begun) = begin(scene.world.fork().await.unwrap()).await;
    let moments = Post::new(&world, begun.events).run(usize::MAX, &[]).await;
    assert!(moments >= 4, "request, segments, all transferred, committed: {moments}");
    for number in 0..forgeries(begun.job.id, scene.other).len() {
        for moment in 0..=moments {
            let (world, begun) = begin(scene.world.fork().await.unwrap()).await;
            let forged = forgeries(begun.job.id, scene.other).swap_remove(number);
            let what = format!("{} {} before event {moment}", forged[0].event_type, forged[0].data);
            let mut post = Post::new(&world, begun.events);
            post.run(moment, &forged).await;
            assert_unharmed(&world, &begun.job, &post, &what).await;
            let outcome = world.engine.job(begun.job.id).await.unwrap().newest.outcome.unwrap();
            assert_ne!(outcome.point, Some(scene.other), "{what}: the job has a point of its own");
            assert_eq!(world.vault().points(&item()).await.unwrap().len(), 2, "{what}");
        }
    }
}

#[tokio::test]
async fn no_forged_message_harms_a_restore() {
    let scene = scene(2).await;
    let begin = |world: World| async move {
        let point = world.vault().point(&item(), scene.other).await.unwrap();
        let disks = World::places(&point, "restored");
        let what =
            Operation::Restore { item: item(), point: scene.other, disks, snapshot: None, estimated_ms: None, order: None };
        let begun = begin_job(&world.engine, request(what)).await.unwrap();
        (world, begun)
    };
    let (world, begun) = begin(scene.world.fork().await.unwrap()).await;
    let moments = Post::new(&world, begun.events).run(usize::MAX, &[]).await;
    assert!(moments >= 3, "request, segments, all written: {moments}");
    for number in 0..forgeries(begun.job.id, scene.other).len() {
        for moment in 0..=moments {
            let (world, begun) = begin(scene.world.fork().await.unwrap()).await;
            let forged = forgeries(begun.job.id, scene.other).swap_remove(number);
            let what = format!("{} {} before event {moment}", forged[0].event_type, forged[0].data);
            let mut post = Post::new(&world, begun.events);
            post.run(moment, &forged).await;
            assert_unharmed(&world, &begun.job, &post, &what).await;
            let (_, taken) = world.platform.taken(world.vault().point(&item(), scene.other).await.unwrap().job).unwrap();
            for (name, disk) in taken {
                let restored = world.target.take(&format!("restored/{name}")).expect("it was published");
                assert_eq!(disk.difference(&restored), None, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn an_event_of_another_site_or_of_no_job_is_parked() {
    let scene = scene(3).await;
    let what = Operation::Backup {
        item: item(),
        wanted: Consistency::Crash,
        keep_until: None,
        slot: None,
        instant_restore_seconds: 0,
        snapshot_only: false,
    };
    let elsewhere = Request { what, host: "elsewhere".to_owned(), carrier: Carrier::Broker };
    let begun = begin_backup(&scene.world.engine, elsewhere).await.unwrap();
    let mut post = Post::new(&scene.world, begun.events);
    post.run(usize::MAX, &[]).await;
    assert_eq!(post.parked.len(), 1);
    assert!(post.parked[0].contains("elsewhere"), "{:?}", post.parked);
    assert_eq!(scene.world.engine.job(begun.job.id).await.unwrap().state(), JobState::Requested);
    let mut post = Post::new(&scene.world, Vec::new());
    post.run(0, &forgeries(crate::bench::no_job(), scene.other).concat()).await;
    assert!(post.parked.len() >= 20 && post.parked.iter().all(|reason| reason.contains("there is no job")), "{:?}", post.parked);
}

/// The types that are forged above are all that concern a job.
#[test]
fn every_event_of_a_job_is_forged() {
    let job = crate::bench::no_job();
    let forged = forgeries(job, "01JQ1D5V8CWN3H2TSX0R9F4KMB".parse().unwrap()).concat();
    // Of these, orders are forged where they are taken: e2e_broker.
    let of_no_job =
        [stillpoint_events::TimerTicked::TYPE, stillpoint_events::AlarmChanged::TYPE, stillpoint_events::RestoreOrdered::TYPE];
    for known in all().iter().filter(|known| !of_no_job.contains(&known.event_type)) {
        assert!(forged.iter().any(|event| event.event_type == known.event_type), "{}", known.event_type);
    }
}
