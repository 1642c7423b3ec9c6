//! Beside everything else.

use stillpoint_jobs::{Operation, Rotation};
use stillpoint_model::{AlarmState, JobState, MarkKind};
use stillpoint_testkit::{CallKind, Fault, World};
use stillpoint_vault::{Collection, Mark, Name};

use crate::scene::*;

/// What `collect` does to a point whose time is over.
async fn free(world: &World, of: &Of) {
    let entry = world.vault().point_entry(&of.0, of.1).await.unwrap();
    let mark = Mark::new(MarkKind::Freed, world.vault().clock().now(), "collect", "its time is over");
    world.vault().mark(&of.0, &entry, &mark).await.unwrap();
    let manifest = world.vault().point(&of.0, of.1).await.unwrap().manifest.name;
    world.content.remove(&manifest).await.unwrap();
}

#[tokio::test]
async fn a_point_that_is_freed_or_about_to_be_is_none() {
    let (base, points) = world(31_000).await;
    let world = base.fork().await.unwrap();
    let manifest = world.vault().point(&web(), points[0].1).await.unwrap().manifest.name;
    let job = verify(&world, None, None).await;
    let collection = Collection {
        at: world.vault().clock().now(),
        job: job.id,
        open: Vec::new(),
        points: vec![points[0].clone()],
        objects: vec![manifest.clone()],
    };
    world.vault().create_collection(1, &collection).await.unwrap();
    world.content.remove(&manifest).await.unwrap();
    let job = verify(&world, None, Some(Rotation::ALL)).await;
    assert_eq!((job.state(), count(&job, "points")), (JobState::Completed, 3));
    assert_eq!(world.vault().audit().await.unwrap().findings, []);
    let world = base.fork().await.unwrap();
    free(&world, &points[0]).await;
    let job = verify(&world, None, Some(Rotation::ALL)).await;
    assert_eq!((job.state(), count(&job, "points")), (JobState::Completed, 3));
    assert_eq!(world.vault().audit().await.unwrap().findings, []);
}

/// At whatever moment a point is freed, its absence is no finding and it is marked no more.
#[tokio::test]
async fn a_point_that_is_freed_meanwhile_is_no_finding() {
    let (base, points) = world(32_000).await;
    let dry = base.fork().await.unwrap();
    verify_all(&dry).await;
    let calls = dry.store.calls().len();
    drop(dry);
    for number in 1..=calls {
        let first = base.fork().await.unwrap();
        first.store.fault(number, Fault::KillAfter);
        let died = first.store.until_death(verify_all(&first)).await.is_none();
        assert!(died, "call {number}");
        let second = first.restart().await.unwrap();
        free(&second, &points[0]).await;
        for job in second.take_on().await.unwrap() {
            assert_eq!(job.state(), JobState::Completed, "call {number}: {:?}", job.newest);
        }
        assert!(marked(&second).await.is_empty(), "call {number}");
    }
}

#[tokio::test]
async fn a_pack_that_comes_back_before_the_end_is_no_finding() {
    let (world, points) = world(33_000).await;
    let (pack, _) = first_page(&world, &points[0]).await;
    let before = Damage::Deleted.befalls(&world, &pack).await;
    let dry = world.fork().await.unwrap();
    verify(&dry, None, None).await;
    let plan = dry.store.calls().iter().position(|call| call.kind == CallKind::Put && call.name.ends_with("/plan")).unwrap();
    drop(dry);
    world.store.reset();
    world.store.fault(plan + 1, Fault::KillAfter);
    assert!(world.store.until_death(verify(&world, None, None)).await.is_none());
    world.content.replace(&pack, before.to_vec()).await.unwrap();
    let next = world.restart().await.unwrap();
    assert_eq!(next.take_on().await.unwrap()[0].state(), JobState::Completed);
    assert!(marked(&next).await.is_empty() && alarm(&next, &web()).await.is_none());
}

/// A damaged point that the operator deletes no longer keeps the alarm.
#[tokio::test]
async fn deleted_points_keep_no_alarm() {
    let (world, points) = world(34_000).await;
    let (pack, hurt) = packs(&world, &points).await.into_iter().min_by_key(|(_, points)| points.len()).unwrap();
    Damage::Deleted.befalls(&world, &pack).await;
    verify(&world, None, None).await;
    let item = hurt.iter().next().unwrap().0.clone();
    assert_eq!(alarm(&world, &item).await.unwrap().state, AlarmState::Raised);
    for (item, id) in hurt.iter().filter(|(of, _)| *of == item) {
        let entry = world.vault().point_entry(item, *id).await.unwrap();
        let mut mark = Mark::new(MarkKind::Deleted, world.vault().clock().now(), "operator", "asked for");
        mark.until = Some(world.vault().clock().now());
        world.vault().mark(item, &entry, &mark).await.unwrap();
    }
    let job = verify(&world, None, None).await;
    assert_eq!(count(&job, "findings"), 1, "it is still damaged, and can be undeleted");
    assert_eq!(alarm(&world, &item).await.unwrap().state, AlarmState::Resolved);
}

#[tokio::test]
async fn two_verifications_and_a_backup_at_once_say_the_same() {
    let (base, points) = world(35_000).await;
    for (pack, hurt) in packs(&base, &points).await {
        let world = base.fork().await.unwrap();
        Damage::Flipped(80).befalls(&world, &pack).await;
        let web = web();
        let what = || Operation::Verify { item: None, read: Some(Rotation::ALL) };
        let (one, other, backup) = futures_util::join!(world.task(what()), world.task(what()), world.backup(&web));
        for job in [one.unwrap(), other.unwrap()] {
            assert_eq!(count(&job, "findings"), 1, "{pack}: {:?}", lines(&job));
        }
        let found: std::collections::BTreeSet<Of> = marked(&world).await.into_keys().collect();
        assert!(found.is_superset(&hurt), "{pack}");
        // A backup that began before it was known may draw on it: the next verification says so, and the next backup is whole.
        let during = (web.clone(), backup.unwrap().newest.outcome.unwrap().point.unwrap());
        let draws = manifest(&world, &during).await.packs.iter().any(|used| *used.pack.name == *pack);
        verify(&world, None, None).await;
        assert_eq!(marked(&world).await.contains_key(&during), draws, "{pack}");
        assert_restores(&world, &(web.clone(), crate::scene::backup(&world, &web).await), &pack).await;
    }
}

/// An audit that looks while a backup commits sees no point without its packs.
#[tokio::test]
async fn what_a_backup_commits_meanwhile_is_no_finding() {
    let (base, _) = world(36_000).await;
    for seed in 0..20 {
        let world = base.fork().await.unwrap();
        let web = web();
        change(&world, &web, 5 * MIB, seed);
        let (job, backup) = futures_util::join!(verify_all(&world), world.backup(&web));
        assert_eq!(backup.unwrap().state(), JobState::Completed);
        assert_eq!(job.state(), JobState::Completed, "seed {seed}: {:?}", lines(&job));
    }
}

#[tokio::test]
async fn a_cancelled_verification_marks_nothing() {
    let (world, points) = world(37_000).await;
    let (pack, _) = first_page(&world, &points[0]).await;
    Damage::Deleted.befalls(&world, &pack).await;
    world.store.reset();
    world.store.fault(12, Fault::KillAfter);
    assert!(world.store.until_death(verify_all(&world)).await.is_none());
    let next = world.restart().await.unwrap();
    let id = next.engine.unfinished().await.unwrap()[0];
    let event = next.engine.stop(id, JobState::Cancelled, "the test cancels it").await.unwrap();
    assert_eq!(next.run(&[id], vec![event], Vec::new()).await.unwrap()[0].state(), JobState::Cancelled);
    assert!(marked(&next).await.is_empty());
    let names = next.content.names().await.unwrap();
    assert!(!names.iter().any(|name| matches!(name.parse(), Ok(Name::Alarm(..)))));
}
