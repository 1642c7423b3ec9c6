//! The next backup stores again what was lost, and what comes back is sound.

use stillpoint_model::{AlarmState, JobState};
use stillpoint_testkit::{Disk, World};

use crate::scene::*;

#[tokio::test]
async fn the_next_backup_stores_again_what_is_damaged_and_its_point_is_whole() {
    let (base, points) = world(11_000).await;
    let page = first_page(&base, &points[3]).await;
    let in_a_page = u64::from(page.1.offset) + 2;
    let newest = manifest(&base, &points[3]).await;
    for used in &newest.packs {
        let pack = used.pack.name.to_string();
        let mut damages = vec![Damage::Deleted, Damage::CutShort, Damage::Flipped(45), Damage::Flipped(12)];
        damages.extend((pack == page.0).then_some(Damage::Flipped(in_a_page)));
        for damage in damages {
            let when = format!("{damage:?} {pack}");
            let world = base.fork().await.unwrap();
            damage.befalls(&world, &pack).await;
            let hurt = marked_by(&world).await;
            let job = world.backup(&web()).await.unwrap();
            assert_eq!(job.state(), JobState::CompletedWithWarnings, "{when}: {:?}", job.newest.reason);
            let new = (web(), job.newest.outcome.unwrap().point.unwrap());
            assert!(manifest(&world, &new).await.packs.iter().all(|used| *used.pack.name != *pack), "{when}: it names the pack");
            assert_restores(&world, &new, &when).await;
            // The old ones stay what they are, and the new one is not counted among them.
            assert_eq!(marked_by(&world).await, hurt, "{when}");
            let next = world.backup(&web()).await.unwrap();
            assert_eq!(next.state(), JobState::Completed, "{when}: nothing is wrong with the new point: {:?}", next.newest);
            assert_restores(&world, &(web(), next.newest.outcome.unwrap().point.unwrap()), &when).await;
        }
    }
}

/// Verifies all, and returns the points that are marked.
async fn marked_by(world: &World) -> Vec<Of> {
    verify_all(world).await;
    marked(world).await.into_keys().collect()
}

#[tokio::test]
async fn a_neighbour_s_damaged_point_is_not_drawn_upon() {
    let (base, points) = world(12_000).await;
    for (pack, hurt) in packs(&base, &points).await {
        if !hurt.iter().any(|(item, _)| *item == web()) {
            continue;
        }
        let world = base.fork().await.unwrap();
        Damage::Flipped(60).befalls(&world, &pack).await;
        verify_all(&world).await;
        let twin = "web-03".parse().unwrap();
        let mut disk = Disk::default();
        world.platform.change(&format!("{}/os", web()), |os| disk = os.clone());
        world.platform.put(&format!("{twin}/os"), disk);
        world.protect(&twin, &["os".parse().unwrap()]).await.unwrap();
        let new = (twin.clone(), backup(&world, &twin).await);
        assert!(manifest(&world, &new).await.packs.iter().all(|used| *used.pack.name != *pack), "{pack} is used");
        assert_restores(&world, &new, &pack).await;
    }
}

#[tokio::test]
async fn an_old_point_fails_to_restore_with_the_reason_and_nothing_is_published() {
    let (world, points) = world(13_000).await;
    let (pack, page) = first_page(&world, &points[0]).await;
    Damage::Flipped(u64::from(page.offset)).befalls(&world, &pack).await;
    verify_all(&world).await;
    let new = (web(), backup(&world, &web()).await);
    let failed = world.restore(&web(), points[0].1, "here").await.unwrap();
    assert_eq!(failed.state(), JobState::Failed);
    assert!(failed.newest.reason.unwrap().contains(&pack));
    assert!(world.target.take("here/os").is_none());
    assert_restores(&world, &new, "the new one").await;
}

#[tokio::test]
async fn an_object_that_comes_back_is_read_and_makes_its_points_sound_again() {
    let (base, points) = world(14_000).await;
    let (page_pack, page) = first_page(&base, &points[0]).await;
    let damages = [Damage::Deleted, Damage::CutShort, Damage::Flipped(u64::from(page.offset) + 5)];
    for damage in damages {
        let when = format!("{damage:?}");
        let world = base.fork().await.unwrap();
        let before = damage.befalls(&world, &page_pack).await;
        verify_all(&world).await;
        assert!(!marked(&world).await.is_empty(), "{when}");
        // Still there the next day, also where its part is not read.
        let job = verify(&world, None, None).await;
        assert_eq!(count(&job, "findings"), 1, "{when}");
        let raised = alarm(&world, &web()).await.unwrap();
        world.content.replace(&page_pack, before.to_vec()).await.unwrap();
        world.store.reset();
        let job = verify(&world, None, None).await;
        assert_eq!(job.state(), JobState::Completed, "{when}: {:?}", lines(&job));
        assert_eq!(packs_read(&world), std::slice::from_ref(&page_pack), "{when}: nothing is called sound that was not read");
        assert!(marked(&world).await.is_empty(), "{when}");
        let resolved = alarm(&world, &web()).await.unwrap();
        assert_eq!((raised.state, resolved.state), (AlarmState::Raised, AlarmState::Resolved), "{when}");
        for of in &points {
            assert_restores(&world, of, &when).await;
        }
    }
}

/// It is there again, but it is not what it was.
#[tokio::test]
async fn an_object_that_comes_back_corrupt_stays_a_finding() {
    let (world, points) = world(15_000).await;
    let (pack, _) = first_page(&world, &points[0]).await;
    let mut before = Damage::Deleted.befalls(&world, &pack).await.to_vec();
    verify(&world, None, None).await;
    before[50] ^= 1;
    world.content.replace(&pack, before).await.unwrap();
    let hurt = packs(&world, &points).await.remove(&pack).unwrap();
    let job = verify(&world, None, None).await;
    assert_found(&world, &job, &pack, &hurt, "corrupt").await;
    assert!(lines(&job)[0].contains("corrupt"), "{:?}", lines(&job));
}

#[tokio::test]
async fn a_finding_that_stands_is_marked_and_alarmed_once_and_a_worse_one_again() {
    let (world, points) = world(16_000).await;
    let needed = packs(&world, &points).await;
    let (few, _) = needed.iter().min_by_key(|(_, points)| points.len()).unwrap();
    let (many, all) = needed.iter().max_by_key(|(_, points)| points.len()).unwrap();
    Damage::Deleted.befalls(&world, few).await;
    let records =
        |names: Vec<String>| names.into_iter().filter(|name| name.contains("/marks/") || name.starts_with("alarms/")).count();
    verify(&world, None, None).await;
    let once = records(world.content.names().await.unwrap());
    verify(&world, None, None).await;
    assert_eq!(records(world.content.names().await.unwrap()), once);
    Damage::Deleted.befalls(&world, many).await;
    verify(&world, None, None).await;
    let web_points = all.iter().filter(|(item, _)| *item == web()).count();
    assert_eq!(alarm(&world, &web()).await.unwrap().points.len(), web_points);
    assert!(world.vault().alarms().await.unwrap().untold().count() > 0, "somebody is told of the others");
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_makes_the_next_backup_pass_over_its_point() {
    let (world, points) = world(17_000).await;
    let newest = manifest(&world, &points[3]).await;
    for used in &newest.packs {
        let base = world.fork().await.unwrap();
        Damage::Flipped(45).befalls(&base, &used.pack.name).await;
        verify_all(&base).await;
        let marks = base.content.names().await.unwrap().into_iter().filter(|name| name.ends_with("-damaged.json"));
        for mark in marks.collect::<Vec<_>>() {
            base.content.truncate(&mark, 20).await.unwrap();
        }
        let fresh = base.restart().await.unwrap();
        let new = (web(), backup(&fresh, &web()).await);
        assert_restores(&fresh, &new, &used.pack.name).await;
        // A verification that reads all says again what is wrong.
        let job = verify_all(&fresh).await;
        assert_eq!(count(&job, "findings"), 1, "{:?}", lines(&job));
    }
}
