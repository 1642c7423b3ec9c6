//! Two machines of which one is a clone of the other, with some points each, and what verifications say of them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use stillpoint_format::{Manifest, PageRef};
use stillpoint_jobs::{Job, Operation, Rotation};
use stillpoint_model::{AlarmKey, AlarmKind, AlarmState, Extent, ItemName, JobState, MarkKind, PointId, Subject};
use stillpoint_testkit::{Disk, World};
use stillpoint_vault::{Alarm, Name};

pub const MIB: u64 = 1 << 20;

pub fn web() -> ItemName {
    "web-01".parse().unwrap()
}

pub fn clone_of_web() -> ItemName {
    "web-02".parse().unwrap()
}

/// A machine and a point.
pub type Of = (ItemName, PointId);

pub async fn backup(world: &World, item: &ItemName) -> PointId {
    let job = world.backup(item).await.unwrap();
    let outcome = job.newest.outcome.unwrap_or_else(|| panic!("{:?}", job.newest.reason));
    outcome.point.unwrap()
}

pub fn change(world: &World, item: &ItemName, at: u64, seed: u64) {
    world.platform.change(&format!("{item}/os"), |os| os.write_noise(Extent::new(at, 200_000), seed));
}

/// Three points of `web-01` and one of its clone, which shares packs of the first.
pub async fn world(seed: u64) -> (World, Vec<Of>) {
    let world = World::new(seed).await.unwrap();
    let mut os = Disk::new(40 * MIB);
    os.write_noise(Extent::new(0, 2 * MIB), seed);
    os.write_noise(Extent::new(33 * MIB, MIB), seed + 1);
    for item in [web(), clone_of_web()] {
        world.platform.put(&format!("{item}/os"), os.clone());
        world.protect(&item, &["os".parse().unwrap()]).await.unwrap();
    }
    let mut points = vec![(web(), backup(&world, &web()).await)];
    change(&world, &clone_of_web(), 10 * MIB, seed + 2);
    points.push((clone_of_web(), backup(&world, &clone_of_web()).await));
    for day in 0..2 {
        change(&world, &web(), day * 34 * MIB, seed + 3 + day);
        points.push((web(), backup(&world, &web()).await));
    }
    (world.restart().await.unwrap(), points)
}

/// Runs a verification to its end.
pub async fn verify(world: &World, item: Option<ItemName>, read: Option<Rotation>) -> Job {
    let job = world.task(Operation::Verify { item, read }).await.unwrap();
    assert!(job.newest.outcome.is_some(), "{:?}: {:?}", job.state(), job.newest.reason);
    job
}

pub async fn verify_all(world: &World) -> Job {
    verify(world, None, Some(Rotation::ALL)).await
}

pub fn count(job: &Job, name: &str) -> u64 {
    job.newest.outcome.as_ref().unwrap().counts[name]
}

pub fn lines(job: &Job) -> &[String] {
    &job.newest.outcome.as_ref().unwrap().warnings
}

pub async fn manifest(world: &World, of: &Of) -> Manifest {
    let point = world.vault().point(&of.0, of.1).await.unwrap();
    world.vault().manifest(&point).await.unwrap()
}

/// Packs of all points, each with the points that need it.
pub async fn packs(world: &World, points: &[Of]) -> BTreeMap<String, BTreeSet<Of>> {
    let mut packs = BTreeMap::<String, BTreeSet<Of>>::new();
    for of in points {
        for used in manifest(world, of).await.packs {
            packs.entry(used.pack.name.to_string()).or_default().insert(of.clone());
        }
    }
    packs
}

/// Where the first page of a point lies: its pack, and the place in the manifest.
pub async fn first_page(world: &World, of: &Of) -> (String, PageRef) {
    let manifest = manifest(world, of).await;
    let page = *manifest.disks[0].pages.iter().flatten().next().unwrap();
    (manifest.packs[page.pack as usize].pack.name.to_string(), page)
}

/// The points that stand marked as damaged, each with the objects of its mark.
pub async fn marked(world: &World) -> BTreeMap<Of, Vec<String>> {
    let mut marked = BTreeMap::new();
    for (item, entries) in world.vault().all_point_entries().await.unwrap() {
        for entry in entries {
            if let Some(seq) = entry.damaged() {
                let mark = world.vault().read_mark(&item, entry.id, seq, MarkKind::Damaged).await.unwrap();
                assert_eq!(mark.by, "verify");
                marked.insert((item.clone(), entry.id), mark.objects);
            }
        }
    }
    marked
}

/// The newest record of a machine's alarm of damage, if there is any.
pub async fn alarm(world: &World, item: &ItemName) -> Option<Alarm> {
    let key = AlarmKey { kind: AlarmKind::Damaged, subject: Subject::Item(item.clone()) };
    let alarms = world.vault().alarms().await.unwrap();
    let (seq, state) = alarms.0.get(&key)?.last;
    Some(world.vault().alarm(&key, seq, state).await.unwrap())
}

/// Asserts that `object`, and nothing else, is known as damaged, and hurts exactly these points.
pub async fn assert_found(world: &World, job: &Job, object: &str, hurt: &BTreeSet<Of>, when: &str) {
    assert_eq!(job.state(), JobState::CompletedWithWarnings, "{when}");
    let said = lines(job);
    assert_eq!(said.len(), 1, "{when}: {said:?}");
    assert!(said[0].starts_with(&format!("{object}: ")), "{when}: {said:?}");
    let all: Vec<&str> = said[0].split_once("; hurts ").unwrap().1.split(", ").collect();
    let named: BTreeSet<String> = hurt.iter().map(|(item, point)| format!("{item} {point}")).collect();
    assert_eq!(all.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), named, "{when}");
    assert_eq!((count(job, "findings"), count(job, "points_damaged")), (1, hurt.len() as u64), "{when}");
    let marks: BTreeMap<Of, Vec<String>> = hurt.iter().map(|of| (of.clone(), vec![object.to_owned()])).collect();
    assert_eq!(marked(world).await, marks, "{when}");
    for item in [web(), clone_of_web()] {
        let own: Vec<PointId> = hurt.iter().filter(|(of, _)| *of == item).map(|(_, point)| *point).collect();
        let raised = alarm(world, &item).await.filter(|alarm| alarm.state == AlarmState::Raised);
        assert_eq!(raised.map(|alarm| alarm.points).unwrap_or_default(), own, "{when}: {item}");
    }
}

/// Asserts that a point restores to what its machine's disk is now.
pub async fn assert_restores(world: &World, of: &Of, when: &str) {
    let back = world.read_back(&of.0, of.1).await.unwrap_or_else(|error| panic!("{when}: {}", error.one_line()));
    let job = world.vault().point(&of.0, of.1).await.unwrap().job;
    for (name, disk) in world.platform.taken(job).unwrap().1 {
        assert_eq!(disk.difference(&back[&name]), None, "{when}: disk {name}");
    }
}

/// One of the ways in which an object goes bad.
#[derive(Debug, Clone, Copy)]
pub enum Damage {
    Deleted,
    CutShort,
    Longer,
    Flipped(u64),
}

impl Damage {
    /// Damages an object and returns what it was.
    pub async fn befalls(self, world: &World, name: &str) -> Bytes {
        let before = world.content.bytes(name).await.unwrap();
        match self {
            Self::Deleted => world.content.remove(name).await.unwrap(),
            Self::CutShort => world.content.truncate(name, before.len() - 1).await.unwrap(),
            Self::Longer => world.content.replace(name, [&before[..], b"x"].concat()).await.unwrap(),
            Self::Flipped(at) => world.content.flip(name, at).await.unwrap(),
        }
        before
    }
}

/// Names of packs in the order in which calls read them.
pub fn packs_read(world: &World) -> Vec<String> {
    let is_pack = |name: &str| matches!(name.parse(), Ok(Name::Pack { .. }));
    let reads = world.store.calls().into_iter().filter(|call| call.kind == stillpoint_testkit::CallKind::Get);
    reads.map(|call| call.name).filter(|name| is_pack(name)).collect()
}
