//! What a reader of a point gives, and what it asks of the vault for it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use stillpoint_model::{Error, ErrorKind, Extent, ItemName, geometry::CHUNK_BYTES};
use stillpoint_reader::{CACHE_BYTES_MIN, DiskReader, PointReader};
use stillpoint_testkit::{Disk, Fault, InlineCpu, World};
use stillpoint_vault::Point;

const MIB: u64 = 1 << 20;
const CHUNK: u64 = CHUNK_BYTES;

fn item() -> ItemName {
    "web-01".parse().expect("a name")
}

/// A world with one machine of these disks, and the newest point of it.
async fn backed_up(disks: &[(&str, Disk)]) -> (World, Point) {
    static SEED: AtomicU64 = AtomicU64::new(4711);
    let world = World::new(SEED.fetch_add(1, Ordering::Relaxed)).await.expect("a world can be made");
    for (name, disk) in disks {
        world.platform.put(&format!("web-01/{name}"), disk.clone());
    }
    let names: Vec<_> = disks.iter().map(|(name, _)| name.parse().expect("a name")).collect();
    world.protect(&item(), &names).await.expect("a machine can be protected");
    let point = newest(&world).await;
    (world, point)
}

/// Backs up and gives the point.
async fn newest(world: &World) -> Point {
    world.backup(&item()).await.expect("a backup");
    let id = *world.vault().point_ids(&item()).await.expect("points are listed").last().expect("there is one");
    world.vault().point(&item(), id).await.expect("it can be read")
}

async fn reader(world: &World, point: &Point, cache_bytes: u64) -> PointReader {
    PointReader::open(world.vault().clone(), Arc::new(InlineCpu), point, cache_bytes).await.expect("a reader")
}

fn expected(disk: &Disk, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    disk.read(offset, &mut bytes);
    bytes
}

async fn assert_reads(reader: &DiskReader, disk: &Disk, offset: u64, length: u64) {
    let bytes = reader.read(offset, length as usize).await.expect("it can be read");
    assert!(bytes == expected(disk, offset, length), "{length} bytes at {offset} differ");
}

/// Calls made to the store since the last question.
fn calls(world: &World) -> usize {
    world.store.take().0.len()
}

fn mixed() -> Disk {
    let mut disk = Disk::new(100 * MIB + 512);
    disk.write_noise(Extent::new(0, 3 * MIB), 1);
    disk.write_noise(Extent::new(31 * MIB, 2 * MIB + 512), 2);
    disk.write_noise(Extent::new(100 * MIB, 512), 3);
    disk
}

#[tokio::test]
async fn any_range_of_any_disk_and_point_reads_as_it_was() {
    let (first, second) = (mixed(), Disk::new(8 * MIB));
    let (world, old) = backed_up(&[("os", first.clone()), ("data", second)]).await;
    let mut changed = first.clone();
    changed.write_noise(Extent::new(2 * MIB + 512, CHUNK), 4);
    changed.write_zeros(Extent::new(32 * MIB, MIB));
    world.platform.put("web-01/os", changed.clone());
    let new = newest(&world).await;
    for (point, disk) in [(&old, &first), (&new, &changed)] {
        let reader = reader(&world, point, CACHE_BYTES_MIN).await;
        let os = reader.disk(&"os".parse().expect("a name")).expect("there is such a disk");
        assert_eq!(reader.disks().iter().map(DiskReader::size_bytes).collect::<Vec<_>>(), [100 * MIB + 512, 8 * MIB]);
        let mut state = 1_u64;
        for _ in 0..300 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let near = [0, 2 * MIB, 31 * MIB, 32 * MIB, 33 * MIB, 64 * MIB, 99 * MIB][(state >> 33) as usize % 7];
            let offset = near + (state >> 40) % (3 * CHUNK);
            let length = ((state >> 20) % (5 * CHUNK)).min(os.size_bytes() - offset);
            assert_reads(&os, disk, offset, length).await;
        }
        assert_reads(&os, disk, 0, os.size_bytes()).await;
        assert_reads(&os, disk, os.size_bytes(), 0).await;
    }
}

#[tokio::test]
async fn what_is_not_on_a_disk_is_refused() {
    let (world, point) = backed_up(&[("os", Disk::new(MIB))]).await;
    let reader = reader(&world, &point, CACHE_BYTES_MIN).await;
    let kind = |error: Error| error.kind();
    assert_eq!(reader.disk(&"data".parse().expect("a name")).map(|_| ()).map_err(kind), Err(ErrorKind::Missing));
    let os = &reader.disks()[0];
    for (offset, length) in [(0, MIB + 1), (MIB, 1), (u64::MAX, 1)] {
        assert_eq!(os.read(offset, length as usize).await.map(|_| ()).map_err(kind), Err(ErrorKind::Invalid));
        assert_eq!(os.block_status(offset, length).await.map(|_| ()).map_err(kind), Err(ErrorKind::Invalid));
    }
}

#[tokio::test]
async fn zeros_are_known_from_the_map() {
    let disk = mixed();
    let (world, point) = backed_up(&[("os", disk.clone())]).await;
    let reader = reader(&world, &point, CACHE_BYTES_MIN).await;
    let os = &reader.disks()[0];
    let (mut at, mut zeros) = (512, Vec::new());
    while at < os.size_bytes() {
        let stretches = os.block_status(at, os.size_bytes() - at).await.expect("a status");
        assert!(stretches.windows(2).all(|pair| pair[0].is_zero != pair[1].is_zero));
        for stretch in stretches {
            if stretch.is_zero {
                zeros.push((at, stretch.length));
            }
            at += stretch.length;
        }
    }
    assert_eq!(at, os.size_bytes());
    // The stretch from 31 MiB on ends in the chunk that begins at 33 MiB.
    assert_eq!(zeros, [(3 * MIB, 28 * MIB), (33 * MIB + CHUNK, 67 * MIB - CHUNK)]);
    calls(&world);
    assert_reads(os, &disk, 3 * MIB, 20 * MIB).await;
    assert_reads(os, &disk, 64 * MIB, 16 * MIB).await;
    assert_eq!(calls(&world), 0, "zeros are not fetched");
}

#[tokio::test]
async fn many_who_read_one_frame_fetch_it_once() {
    let disk = mixed();
    let (world, point) = backed_up(&[("os", disk.clone())]).await;
    let reader = Arc::new(reader(&world, &point, CACHE_BYTES_MIN).await);
    calls(&world);
    let mut readers = tokio::task::JoinSet::new();
    for number in 0..32_u64 {
        let (reader, disk) = (Arc::clone(&reader), disk.clone());
        readers.spawn(async move { assert_reads(&reader.disks()[0], &disk, number * 4096, 4096).await });
    }
    while let Some(ended) = readers.join_next().await {
        ended.expect("it reads");
    }
    assert_eq!(calls(&world), 2, "one map page and one frame");
}

#[tokio::test]
async fn a_reader_that_goes_away_leaves_the_others_theirs() {
    let disk = mixed();
    let (world, point) = backed_up(&[("os", disk.clone())]).await;
    let reader = reader(&world, &point, CACHE_BYTES_MIN).await;
    let os = &reader.disks()[0];
    for polls in 0..12 {
        let mut read = Box::pin(os.read(polls * 200_000, 3000));
        let mut left = polls;
        std::future::poll_fn(|context| {
            let polled = read.as_mut().poll(context);
            left = left.saturating_sub(1);
            if left == 0 || polled.is_ready() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        drop(read);
        assert_reads(os, &disk, polls * 200_000, 3000).await;
    }
}

#[tokio::test]
async fn a_stream_takes_few_requests_and_the_cache_keeps_to_its_size() {
    let mut disk = Disk::new(96 * MIB);
    disk.write_noise(Extent::new(0, 96 * MIB), 9);
    let (world, point) = backed_up(&[("os", disk.clone())]).await;
    let reader = reader(&world, &point, 4 * CACHE_BYTES_MIN).await;
    let os = &reader.disks()[0];
    calls(&world);
    for offset in (0..96 * MIB).step_by(CHUNK as usize) {
        assert_reads(os, &disk, offset, CHUNK).await;
    }
    let streamed = calls(&world);
    assert!((24..=60).contains(&streamed), "96 frames and 3 pages took {streamed} requests");
    for (offset, fetched) in [(95 * MIB, 0), (0, 1), (0, 0), (MIB / 2, 0)] {
        assert_reads(os, &disk, offset, CHUNK).await;
        assert_eq!(calls(&world), fetched, "at {offset}");
    }
}

#[tokio::test]
async fn what_is_wrong_in_the_vault_is_told_and_read_again_next_time() {
    let mut disk = Disk::new(MIB);
    disk.write_noise(Extent::new(0, MIB), 5);
    let (world, point) = backed_up(&[("os", disk.clone())]).await;
    // The first call reads the map page, the second the frame.
    for (call, fault, kind) in [
        (1, Fault::FlippedRead, ErrorKind::Corrupt),
        (2, Fault::FlippedRead, ErrorKind::Corrupt),
        (2, Fault::ShortRead, ErrorKind::Unavailable),
        (1, Fault::Denied, ErrorKind::Denied),
        (2, Fault::Denied, ErrorKind::Denied),
    ] {
        let reader = reader(&world, &point, CACHE_BYTES_MIN).await;
        let os = &reader.disks()[0];
        world.store.reset();
        world.store.fault(call, fault);
        let both = tokio::join!(os.read(0, 4096), os.read(CHUNK, 4096));
        for read in [both.0, both.1] {
            assert_eq!(read.map(|_| ()).map_err(|error| error.kind()), Err(kind), "{fault:?} of call {call}");
        }
        assert_reads(os, &disk, 0, 4096).await;
    }
}
