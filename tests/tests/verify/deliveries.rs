//! Events come twice, late, in any order, or not at all.

use std::{collections::BTreeSet, sync::Arc};

use stillpoint_jobs::{Carrier, Operation, Request, Rotation};
use stillpoint_runtime::begin_job;
use stillpoint_testkit::{Courier, Manners, TestClock};

use crate::scene::*;

const BAD_MANNERS: [Manners; 4] = [
    Manners { twice: false, two_snapshots: false, again_at_the_end: false, lost_percent: 0 },
    Manners { twice: true, two_snapshots: false, again_at_the_end: true, lost_percent: 0 },
    Manners { twice: false, two_snapshots: false, again_at_the_end: true, lost_percent: 40 },
    Manners { twice: true, two_snapshots: false, again_at_the_end: true, lost_percent: 60 },
];

#[tokio::test]
async fn a_verification_is_the_same_however_its_events_come() {
    let (base, points) = world(51_000).await;
    let (pack, hurt) = packs(&base, &points).await.into_iter().max_by_key(|(_, points)| points.len()).unwrap();
    Damage::Flipped(90).befalls(&base, &pack).await;
    for (seed, manners) in (0..40).zip(BAD_MANNERS.into_iter().cycle()) {
        let world = base.fork().await.unwrap();
        let when = format!("seed {seed}, {manners:?}");
        let what = Operation::Verify { item: None, read: Some(Rotation::ALL) };
        let request = Request { what, host: "testhost".to_owned(), carrier: Carrier::Broker };
        let begun = begin_job(&world.engine, request).await.unwrap();
        let clock = Arc::<TestClock>::clone(&world.clock);
        let courier = Courier::new(world.engine.clone(), world.functions(), clock, seed, manners);
        courier.deliver(begun.job.id, begun.events).await.unwrap_or_else(|error| panic!("{when}: {}", error.one_line()));
        let job = world.engine.job(begun.job.id).await.unwrap();
        assert_found(&world, &job, &pack, &hurt, &when).await;
        let names = world.content.names().await.unwrap();
        let marks: BTreeSet<&String> = names.iter().filter(|name| name.contains("/marks/")).collect();
        assert_eq!(marks.len(), hurt.len(), "{when}: each point is marked once");
        let alarms = names.iter().filter(|name| name.starts_with("alarms/") && name.ends_with("-raised.json")).count();
        let machines: BTreeSet<_> = hurt.iter().map(|(item, _)| item).collect();
        assert_eq!(alarms, machines.len(), "{when}: each alarm is raised once");
    }
}
