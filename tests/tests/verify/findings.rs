//! What is wrong is found, and named with exactly the points it hurts.

use std::collections::BTreeSet;

use stillpoint_jobs::Rotation;
use stillpoint_model::JobState;
use stillpoint_testkit::{CallKind, Fault};
use stillpoint_vault::Name;

use crate::scene::*;

#[tokio::test]
async fn a_sound_vault_has_no_findings_and_every_pack_is_read_once() {
    let (world, points) = world(1000).await;
    let needed = packs(&world, &points).await;
    assert!(needed.len() >= 4 && needed.values().any(|points| points.len() > 2), "{needed:#?}");
    world.store.reset();
    let job = verify_all(&world).await;
    assert_eq!(job.state(), JobState::Completed);
    assert_eq!(count(&job, "points"), 4);
    assert_eq!(count(&job, "objects"), 8 + needed.len() as u64);
    assert_eq!(count(&job, "packs_read"), needed.len() as u64);
    let mut read = packs_read(&world);
    read.sort_unstable();
    assert_eq!(read, needed.into_keys().collect::<Vec<_>>());
    assert!(marked(&world).await.is_empty() && alarm(&world, &web()).await.is_none());
}

#[tokio::test]
async fn a_pack_that_is_gone_or_of_another_length_is_found_without_reading_any() {
    let (base, points) = world(2000).await;
    for (pack, hurt) in packs(&base, &points).await {
        for damage in [Damage::Deleted, Damage::CutShort, Damage::Longer] {
            let world = base.fork().await.unwrap();
            damage.befalls(&world, &pack).await;
            world.store.reset();
            let job = verify(&world, None, None).await;
            let when = format!("{damage:?} {pack}");
            assert_eq!(packs_read(&world), [""; 0], "{when}");
            assert_found(&world, &job, &pack, &hurt, &when).await;
        }
    }
}

#[tokio::test]
async fn a_flipped_byte_anywhere_in_a_pack_is_found_when_it_is_read() {
    let (base, points) = world(3000).await;
    for (pack, hurt) in packs(&base, &points).await {
        let length = base.content.bytes(&pack).await.unwrap().len() as u64;
        // Header, reserved bytes, key id, salt, frames, pages, index, count of frames, magic.
        let places = [0, 9, 12, 20, 30, 41, length / 2, length - 60, length - 14, length - 11, length - 1];
        for at in places {
            let world = base.fork().await.unwrap();
            Damage::Flipped(at).befalls(&world, &pack).await;
            assert_found(&world, &verify_all(&world).await, &pack, &hurt, &format!("byte {at} of {pack}")).await;
        }
    }
}

#[tokio::test]
async fn a_flipped_byte_in_a_map_page_is_found_and_says_which_frame() {
    let (world, points) = world(4000).await;
    let (pack, page) = first_page(&world, &points[0]).await;
    let hurt = packs(&world, &points).await.remove(&pack).unwrap();
    Damage::Flipped(u64::from(page.offset) + 3).befalls(&world, &pack).await;
    let job = verify_all(&world).await;
    assert_found(&world, &job, &pack, &hurt, "a page").await;
    assert!(lines(&job)[0].contains(&format!("frame {} at byte {}", page.frame, page.offset)), "{:?}", lines(&job));
}

#[tokio::test]
async fn two_packs_that_changed_places_are_both_found() {
    let (world, points) = world(5000).await;
    let needed = packs(&world, &points).await;
    let [one, other] = [needed.keys().next().unwrap(), needed.keys().nth(1).unwrap()];
    let [bytes, others] = [world.content.bytes(one).await.unwrap(), world.content.bytes(other).await.unwrap()];
    world.content.replace(one, others.to_vec()).await.unwrap();
    world.content.replace(other, bytes.to_vec()).await.unwrap();
    let job = verify_all(&world).await;
    assert_eq!(count(&job, "findings"), 2);
    let hurt: BTreeSet<Of> = needed[one].union(&needed[other]).cloned().collect();
    assert_eq!(marked(&world).await.into_keys().collect::<BTreeSet<_>>(), hurt);
}

#[tokio::test]
async fn a_record_or_manifest_that_is_gone_or_corrupt_hurts_its_point_alone() {
    let (base, points) = world(6000).await;
    for of in &points {
        let record = Name::Point(of.0.clone(), of.1).to_string();
        let manifest = base.vault().point(&of.0, of.1).await.unwrap().manifest.name;
        let hurt = BTreeSet::from([of.clone()]);
        for (object, damage) in [
            (&record, Damage::Deleted),
            (&record, Damage::CutShort),
            (&record, Damage::Flipped(90)),
            (&manifest, Damage::Deleted),
            (&manifest, Damage::CutShort),
            (&manifest, Damage::Flipped(40)),
        ] {
            let world = base.fork().await.unwrap().restart().await.unwrap();
            damage.befalls(&world, object).await;
            let job = verify(&world, None, None).await;
            assert_found(&world, &job, object, &hurt, &format!("{damage:?} {object}")).await;
        }
        // The disk maps are read with the part that the manifest lies in.
        let world = base.fork().await.unwrap();
        let length = world.content.bytes(&manifest).await.unwrap().len() as u64;
        Damage::Flipped(length - 1).befalls(&world, &manifest).await;
        assert_found(&world, &verify_all(&world).await, &manifest, &hurt, "the end of a manifest").await;
    }
}

#[tokio::test]
async fn one_machine_s_verification_leaves_the_others_alone_but_for_what_they_share() {
    let (base, points) = world(7000).await;
    let needed = packs(&base, &points).await;
    let own: Vec<&String> =
        needed.iter().filter(|(_, points)| points.iter().all(|(item, _)| *item == web())).map(|(pack, _)| pack).collect();
    let world = base.fork().await.unwrap();
    Damage::Deleted.befalls(&world, own[0]).await;
    let job = verify(&world, Some(clone_of_web()), Some(Rotation::ALL)).await;
    assert_eq!((job.state(), count(&job, "points")), (JobState::Completed, 1));
    let (shared, hurt) =
        needed.iter().find(|(_, points)| points.iter().any(|(item, _)| *item != web()) && points.len() > 1).unwrap();
    let world = base.fork().await.unwrap();
    Damage::Flipped(100).befalls(&world, shared).await;
    let job = verify(&world, Some(clone_of_web()), Some(Rotation::ALL)).await;
    assert_found(&world, &job, shared, hurt, "a shared pack").await;
}

/// What went wrong on the way is read again before it counts.
#[tokio::test]
async fn a_bit_that_flips_on_the_way_is_no_finding() {
    let (base, _) = world(8000).await;
    let dry = base.fork().await.unwrap();
    verify_all(&dry).await;
    let calls = dry.store.calls();
    drop(dry);
    for fault in [Fault::FlippedRead, Fault::ShortRead, Fault::ErrorBefore] {
        for (number, _) in
            calls.iter().enumerate().filter(|(_, call)| call.kind == CallKind::Get && call.name.starts_with("packs/"))
        {
            let world = base.fork().await.unwrap();
            world.store.fault(number + 1, fault);
            let job = verify_all(&world).await;
            assert_eq!(job.state(), JobState::Completed, "{fault:?} at call {number}: {:?}", lines(&job));
            assert_eq!(count(&job, "packs_read"), count(&job, "packs"));
        }
    }
}

#[tokio::test]
async fn many_findings_are_counted_and_the_first_hundred_told() {
    let (world, _) = world(9000).await;
    for day in 0..110 {
        change(&world, &web(), (day % 5) * 200_000, 9100 + day);
        backup(&world, &web()).await;
    }
    let points: Vec<Of> = world.vault().point_ids(&web()).await.unwrap().into_iter().map(|id| (web(), id)).collect();
    let needed = packs(&world, &points).await;
    for pack in needed.keys() {
        world.content.remove(pack).await.unwrap();
    }
    let job = verify(&world, None, None).await;
    assert_eq!(count(&job, "findings"), needed.len() as u64);
    assert!(needed.len() > 100, "{}", needed.len());
    assert_eq!(lines(&job).len(), 101);
    assert_eq!(lines(&job)[100], format!("{} more objects are missing or corrupt", needed.len() - 100));
    assert!(lines(&job).iter().any(|line| line.contains(" and ") && line.ends_with("more")), "a line names ten points at most");
}
