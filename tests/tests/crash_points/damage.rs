//! Damage to what the next backup is compared with: it stores again what was lost, says so, and its point is whole.

use std::collections::BTreeSet;

use stillpoint_jobs::Job;
use stillpoint_model::JobState;
use stillpoint_testkit::{Content, World};
use stillpoint_vault::Name;

use crate::{
    machine::{a_day_passes, assert_sound, machine, world_with_a_point},
    progress::point_of,
};

#[derive(Debug, Clone, Copy)]
enum Damage {
    Deleted,
    CutShort,
    Emptied,
    Flipped(u64),
}

impl Damage {
    async fn befalls(self, content: &Content, name: &str) {
        match self {
            Self::Deleted => content.remove(name).await.unwrap(),
            Self::CutShort => {
                let length = content.bytes(name).await.unwrap().len();
                content.truncate(name, length - 1).await.unwrap();
            }
            Self::Emptied => content.truncate(name, 0).await.unwrap(),
            Self::Flipped(at) => content.flip(name, at).await.unwrap(),
        }
    }
}

/// Two points, and a third day of changes.
async fn world_with_two_points(seed: u64) -> (World, Job) {
    let world = world_with_a_point(seed).await;
    let newest = world.backup(&machine()).await.unwrap();
    a_day_passes(&world, seed + 200);
    (world.restart().await.unwrap(), newest)
}

/// Damages an object, backs up, and asserts that the new point is whole; returns how the backup ended.
async fn backed_up_after(base: &World, damage: Damage, object: &str) -> JobState {
    let when = format!("{damage:?} {object}");
    let world = base.fork().await.unwrap();
    damage.befalls(&world.content, object).await;
    let job = world.backup(&machine()).await.unwrap_or_else(|error| panic!("{when}: {}", error.one_line()));
    let outcome = job.newest.outcome.clone().unwrap_or_else(|| panic!("{when}: {:?}", job.newest.reason));
    assert_eq!(outcome.warnings.is_empty(), job.state() == JobState::Completed, "{when}");
    let (_, taken) = world.platform.taken(job.id).unwrap();
    let back = world.read_back(&machine(), point_of(&job)).await.unwrap_or_else(|error| panic!("{when}: {}", error.one_line()));
    for (name, disk) in taken {
        assert_eq!(disk.difference(&back[&name]), None, "{when}: disk {name}");
    }
    // Nothing is compared with the damage a second time.
    let next = world.backup(&machine()).await.unwrap();
    assert!(next.newest.outcome.is_some(), "{when}, then another: {:?}", next.newest.reason);
    let wrong = world.wrong_points(&machine()).await.unwrap();
    let new = [point_of(&job), point_of(&next)].map(|point| point.to_string());
    assert!(!wrong.iter().any(|wrong| new.iter().any(|new| wrong.contains(new))), "{when}: {wrong:?}");
    job.state()
}

/// Packs that the newest point needs, and where its pages lie in them.
async fn parts(world: &World, job: &Job) -> (BTreeSet<String>, Vec<(String, u64)>) {
    let point = world.vault().point(&machine(), point_of(job)).await.unwrap();
    let manifest = world.vault().manifest(&point).await.unwrap();
    let packs = manifest.packs.iter().map(|used| used.pack.name.to_string()).collect();
    let pages = manifest.disks.iter().flat_map(|disk| disk.pages.iter().flatten());
    let middle = |page: &stillpoint_format::PageRef| {
        (manifest.packs[page.pack as usize].pack.name.to_string(), u64::from(page.offset) + u64::from(page.sealed_bytes) / 2)
    };
    (packs, pages.map(middle).collect())
}

#[tokio::test]
async fn a_lost_or_shortened_pack_of_the_parent_is_stored_again() {
    let (base, newest) = world_with_two_points(31_000).await;
    let (packs, _) = parts(&base, &newest).await;
    assert!(packs.len() >= 6, "packs of both points: {packs:?}");
    for pack in &packs {
        for damage in [Damage::Deleted, Damage::CutShort, Damage::Emptied] {
            assert_eq!(backed_up_after(&base, damage, pack).await, JobState::CompletedWithWarnings, "{damage:?} {pack}");
        }
    }
}

#[tokio::test]
async fn a_damaged_page_of_the_parent_is_stored_again() {
    let (base, newest) = world_with_two_points(32_000).await;
    let (_, pages) = parts(&base, &newest).await;
    assert!(pages.len() >= 5, "{pages:?}");
    for (pack, at) in pages {
        assert_eq!(backed_up_after(&base, Damage::Flipped(at), &pack).await, JobState::CompletedWithWarnings, "{pack} at {at}");
    }
}

#[tokio::test]
async fn a_parent_whose_record_or_manifest_is_damaged_is_passed_over() {
    let (base, newest) = world_with_two_points(33_000).await;
    let point = base.vault().point(&machine(), point_of(&newest)).await.unwrap();
    for object in [Name::Point(machine(), point.id).to_string(), point.manifest.name] {
        for damage in [Damage::CutShort, Damage::Emptied, Damage::Flipped(20), Damage::Flipped(300)] {
            assert_eq!(backed_up_after(&base, damage, &object).await, JobState::CompletedWithWarnings, "{damage:?} {object}");
        }
    }
    let manifest = base.vault().point(&machine(), point.id).await.unwrap().manifest.name;
    assert_eq!(backed_up_after(&base, Damage::Deleted, &manifest).await, JobState::CompletedWithWarnings);
    // A point whose record is gone is no point: there is nothing to warn of.
    let record = Name::Point(machine(), point.id).to_string();
    assert_eq!(backed_up_after(&base, Damage::Deleted, &record).await, JobState::Completed);
}

/// Other points than the one that needs the damaged object still restore.
#[tokio::test]
async fn damage_stays_where_it_is() {
    let (base, newest) = world_with_two_points(34_000).await;
    let first = base.vault().point_ids(&machine()).await.unwrap()[0];
    let (packs, _) = parts(&base, &newest).await;
    let own: Vec<&String> = packs.iter().filter(|pack| pack.contains(&newest.id.to_string())).collect();
    assert!(!own.is_empty());
    for pack in own {
        let world = base.fork().await.unwrap();
        Damage::Deleted.befalls(&world.content, pack).await;
        let wrong = world.wrong_points(&machine()).await.unwrap();
        assert!(wrong.len() == 1 && !wrong[0].contains(&first.to_string()), "{pack}: {wrong:?}");
        assert!(wrong[0].contains("does not exist"), "it says what is missing: {wrong:?}");
        let audit = world.vault().audit().await.unwrap();
        assert!(audit.findings.iter().all(|finding| finding.object == *pack && finding.point == point_of(&newest)));
        assert_eq!(audit.findings.len(), 1);
    }
    assert_sound(&base, "without damage").await;
}

/// A pack that goes while the backup that builds on it runs: no point may name it.
#[tokio::test]
async fn a_pack_that_goes_after_the_plan_was_made_fails_the_job_or_is_stored_again() {
    let (base, newest) = world_with_two_points(35_000).await;
    let (packs, _) = parts(&base, &newest).await;
    for pack in &packs {
        let world = base.fork().await.unwrap();
        let plan = |name: &str| name.ends_with("/plan") && !name.contains(&newest.id.to_string());
        // The call after the plan's create is the moment at which the pack goes.
        let dry = base.fork().await.unwrap();
        dry.backup(&machine()).await.unwrap();
        let made = dry.store.calls().iter().position(|call| plan(&call.name) && call.kind == stillpoint_testkit::CallKind::Put);
        drop(dry);
        world.store.fault(made.unwrap() + 1, stillpoint_testkit::Fault::KillAfter);
        assert!(world.store.until_death(world.backup(&machine())).await.is_none());
        Damage::Deleted.befalls(&world.content, pack).await;
        let next = world.restart().await.unwrap();
        let job = next.take_on().await.unwrap().pop().unwrap();
        assert!(job.newest.reason.is_some() || job.newest.outcome.is_some(), "{pack}");
        assert_eq!(next.platform.held(), [], "{pack}");
        let again = next.backup(&machine()).await.unwrap();
        assert!(again.newest.outcome.is_some(), "{pack}: {:?}", again.newest.reason);
        let wrong = next.wrong_points(&machine()).await.unwrap();
        assert!(!wrong.iter().any(|wrong| wrong.contains(&point_of(&again).to_string())), "{pack}: {wrong:?}");
        if let Some(outcome) = job.newest.outcome {
            assert!(!wrong.iter().any(|wrong| wrong.contains(&outcome.point.unwrap().to_string())), "{pack}: {wrong:?}");
        }
    }
}
