//! Objects in a store in memory; real protocol servers are in the end-to-end tests.

use std::sync::Arc;

use bytes::Bytes;
use stillpoint_model::{Error, ErrorKind, Extent, JobId, Result, geometry::PAGE_BYTES};
use stillpoint_ports::{Clock, Target, TargetDisk, TargetLimits};
use stillpoint_store::{Access, Store};
use stillpoint_system::SystemClock;

use crate::Staging;

const FOLDER: &str = "memory:///staging";
const SIZE: u64 = 2 * PAGE_BYTES + 4096;

struct Bench {
    staging: Staging,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::open("memory:///", Access::Create, Arc::clone(&clock)).unwrap();
        Self { staging: Staging::new(clock).with(FOLDER, store.clone()), store }
    }

    async fn names(&self) -> Vec<String> {
        self.store.list("").await.unwrap().into_iter().map(|entry| entry.name).collect()
    }

    /// Writes all pages of a disk, one segment for the first and one for the others.
    async fn fill(&self, job: JobId, disk: &TargetDisk) {
        let first = self.staging.open(job, disk).await.unwrap();
        first.write(0, Bytes::from(vec![7; 4096])).await.unwrap();
        first.zero(Extent::new(4096, PAGE_BYTES - 4096)).await.unwrap();
        first.sync().await.unwrap();
        self.rest(job, disk).await;
    }

    async fn rest(&self, job: JobId, disk: &TargetDisk) {
        let rest = self.staging.open(job, disk).await.unwrap();
        rest.write(PAGE_BYTES, Bytes::from(vec![8; usize::try_from(PAGE_BYTES).unwrap() + 4096])).await.unwrap();
        rest.sync().await.unwrap();
    }

    async fn is_whole(&self) {
        let bytes = self.store.get("os.raw", SIZE).await.unwrap();
        let (page, all) = (usize::try_from(PAGE_BYTES).unwrap(), usize::try_from(SIZE).unwrap());
        assert_eq!(bytes.len(), all);
        assert!(bytes[..4096].iter().all(|byte| *byte == 7));
        assert!(bytes[4096..page].iter().all(|byte| *byte == 0));
        assert!(bytes[page..].iter().all(|byte| *byte == 8));
    }
}

fn job(number: u64) -> JobId {
    JobId::new(ulid::Ulid::from_parts(number, 0))
}

fn disk() -> TargetDisk {
    TargetDisk {
        name: "os".parse().unwrap(),
        size_bytes: SIZE,
        data_bytes: SIZE,
        location: format!("{FOLDER}/os.raw"),
        overwrite: false,
        keep_replaced: false,
        limits: None,
    }
}

fn refusal<T>(result: Result<T>) -> Error {
    result.err().expect("it is refused")
}

#[tokio::test]
async fn a_disk_becomes_an_object_when_it_is_whole_and_nothing_stays_beside_it() {
    let bench = Bench::new();
    let disks = [disk()];
    bench.staging.check(job(1), &disks).await.unwrap();
    bench.staging.prepare(job(1), &disks).await.unwrap();
    bench.staging.prepare(job(1), &disks).await.unwrap();
    bench.fill(job(1), &disks[0]).await;
    assert!(!bench.names().await.contains(&"os.raw".to_owned()), "nothing is visible yet");
    bench.staging.publish(job(1), &disks).await.unwrap();
    bench.is_whole().await;
    assert_eq!(bench.names().await, ["os.raw"]);
    bench.staging.publish(job(1), &disks).await.unwrap();
    let taken = refusal(bench.staging.check(job(2), &disks).await);
    assert_eq!(taken.kind(), ErrorKind::Conflict, "{taken}");
    bench.staging.check(job(2), &[TargetDisk { overwrite: true, ..disk() }]).await.unwrap();
}

#[tokio::test]
async fn a_segment_that_is_written_again_changes_nothing() {
    let bench = Bench::new();
    let disks = [disk()];
    bench.staging.prepare(job(1), &disks).await.unwrap();
    // One who died before he kept what he had sent.
    let dead = bench.staging.open(job(1), &disks[0]).await.unwrap();
    dead.write(0, Bytes::from(vec![7; 4096])).await.unwrap();
    dead.zero(Extent::new(4096, PAGE_BYTES - 4096)).await.unwrap();
    drop(dead);
    bench.fill(job(1), &disks[0]).await;
    bench.fill(job(1), &disks[0]).await;
    bench.staging.publish(job(1), &disks).await.unwrap();
    bench.is_whole().await;
}

#[tokio::test]
async fn what_is_not_whole_gets_no_name() {
    let bench = Bench::new();
    let disks = [disk()];
    bench.staging.prepare(job(1), &disks).await.unwrap();
    bench.rest(job(1), &disks[0]).await;
    let lost = refusal(bench.staging.publish(job(1), &disks).await);
    assert!(lost.one_line().contains("part 0 was never written"), "{lost}");
    let half = bench.staging.open(job(1), &disks[0]).await.unwrap();
    half.write(0, Bytes::from(vec![7; 4096])).await.unwrap();
    assert!(refusal(half.sync().await).one_line().contains("part 0 is not whole"));
    assert!(!bench.names().await.contains(&"os.raw".to_owned()));
}

#[tokio::test]
async fn a_restore_that_is_given_up_leaves_nothing_and_cannot_go_on() {
    let bench = Bench::new();
    let disks = [disk()];
    bench.staging.prepare(job(1), &disks).await.unwrap();
    bench.fill(job(1), &disks[0]).await;
    for _ in 0..2 {
        bench.staging.discard(job(1), &disks).await.unwrap();
        assert_eq!(bench.names().await, [""; 0]);
    }
    assert_eq!(refusal(bench.staging.open(job(1), &disks[0]).await).kind(), ErrorKind::Missing);
    assert_eq!(refusal(bench.staging.publish(job(1), &disks).await).kind(), ErrorKind::Missing);
}

#[tokio::test]
async fn who_was_faster_keeps_his_object() {
    let bench = Bench::new();
    let disks = [disk()];
    for number in [1, 2] {
        bench.staging.prepare(job(number), &disks).await.unwrap();
        bench.fill(job(number), &disks[0]).await;
    }
    bench.staging.publish(job(1), &disks).await.unwrap();
    let late = refusal(bench.staging.publish(job(2), &disks).await);
    assert_eq!(late.kind(), ErrorKind::Conflict, "{late}");
    bench.staging.discard(job(2), &disks).await.unwrap();
    assert_eq!(bench.names().await, ["os.raw"]);
}

#[tokio::test]
async fn what_no_store_takes_is_refused() {
    let bench = Bench::new();
    let large = refusal(bench.staging.check(job(1), &[TargetDisk { size_bytes: 1 << 40, ..disk() }]).await);
    assert!(large.one_line().contains("restore it to a folder"), "{large}");
    let twice = refusal(bench.staging.check(job(1), &[disk(), TargetDisk { name: "data".parse().unwrap(), ..disk() }]).await);
    assert!(twice.one_line().contains("two disks"), "{twice}");
    let nowhere = TargetDisk { location: "s3://bucket".to_owned(), ..disk() };
    assert!(refusal(bench.staging.check(job(1), &[nowhere]).await).one_line().contains("names no object"));
    for location in ["file:///srv/os.raw", "memory:///elsewhere/os.raw"] {
        let refused = refusal(bench.staging.check(job(1), &[TargetDisk { location: location.to_owned(), ..disk() }]).await);
        assert!(refused.one_line().contains("give the path of a folder"), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn disks_of_one_target_share_its_limits() {
    let folder = tempfile::tempdir().unwrap();
    let staging = Staging::new(Arc::new(SystemClock));
    let limits = TargetLimits { target: "nas".to_owned(), bytes_per_second: Some(1 << 20), streams: None };
    let disk = |name: &str| TargetDisk {
        name: name.parse().unwrap(),
        size_bytes: 8 << 20,
        location: folder.path().join(name).display().to_string(),
        limits: Some(limits.clone()),
        ..disk()
    };
    let disks = [disk("a"), disk("b")];
    staging.prepare(job(1), &disks).await.unwrap();
    let begun = tokio::time::Instant::now();
    for disk in &disks {
        let writer = staging.open(job(1), disk).await.unwrap();
        for number in 0..64 {
            writer.write(number << 16, Bytes::from(vec![1; 1 << 16])).await.unwrap();
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert!((6.5..9.0).contains(&seconds), "8 MiB at 1 MiB in a second took {seconds} s");
    staging.publish(job(1), &disks).await.unwrap();
}
