//! What a backup asks of its store, all kinds of requests together, for the whole command: opening the vault, taking jobs on,
//! and the job.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use serde_json::Value;
use stillpoint_testkit::{Disk, World};
use stillpoint_tests::{
    Host, Lab,
    disk::{MIB, noise},
    number, text,
    vault_files::{is_marker, is_pack, objects},
};

const DISK_BYTES: u64 = 4096 * MIB;
const CHUNK_BYTES: u64 = 64 * 1024;
/// Bytes of a chunk that are not zero: every chunk of the disk holds data, and 4 GiB of it are made, read and compressed
/// within seconds.
const DATA_BYTES: u64 = 4096;
/// What a backup may ask beyond its packs and a marker for each segment.
const REQUESTS_BESIDE: u64 = 40;

/// Gives these chunks of the disk other data.
fn write_chunks(path: &Path, seed: u64, chunks: impl Iterator<Item = u64>) {
    let file = OpenOptions::new().write(true).open(path).expect("the image opens");
    for chunk in chunks {
        file.write_all_at(&noise(seed + chunk, DATA_BYTES), chunk * CHUNK_BYTES).expect("an image can be written");
    }
}

/// Packs, and segments with a marker, in the vault's folder.
fn counted(vault: &Path) -> (u64, u64) {
    let names = objects(vault);
    let count = |kind: fn(&str) -> bool| names.iter().filter(|name| kind(name)).count() as u64;
    (count(is_pack), count(is_marker))
}

/// Backs the machine up and asserts the bound; returns the packs and segments it took.
fn backed_up_within_bounds(host: &Host, what: &str) -> (u64, u64) {
    let before = counted(host.vault());
    let report = host.backup("web-01");
    assert_eq!(text(&report, "/state"), "completed", "{what}: {report}");
    let after = counted(host.vault());
    let (packs, segments) = (after.0 - before.0, after.1 - before.1);
    let requests: u64 =
        report["command_requests"].as_object().into_iter().flatten().filter_map(|(_, count)| Value::as_u64(count)).sum();
    // A count that left something out would be below what the vault's folder shows.
    assert!(number(&report, "/command_requests/put") >= packs + segments, "{what}: {report}");
    assert!(
        requests <= packs + segments + REQUESTS_BESIDE,
        "{what}: {requests} requests for {packs} packs and {segments} segments: {}",
        report["command_requests"]
    );
    (packs, segments)
}

#[test]
fn three_backups_of_four_gibibytes_stay_within_their_requests() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("disk.raw");
    File::create(&path).and_then(|file| file.set_len(DISK_BYTES)).expect("an image can be made");
    let chunks = DISK_BYTES / CHUNK_BYTES;
    write_chunks(&path, 1, 0..chunks);
    host.add("web-01", &[("os", &path)]);

    let (packs, segments) = backed_up_within_bounds(&host, "first");
    assert!(packs >= 4 && segments >= 4, "it is a full disk: {packs} packs, {segments} segments");
    let (packs, again) = backed_up_within_bounds(&host, "unchanged");
    assert_eq!((packs, again), (0, segments), "nothing is stored, and all is looked at");
    write_chunks(&path, 1_000_000, (0..chunks).step_by(33));
    let (packs, again) = backed_up_within_bounds(&host, "a day later");
    assert!(packs > 0 && packs <= segments && again == segments, "{packs} packs, {again} segments");
}

/// The meter that the reports are made from counts each call that reaches the store, no more and no less.
#[tokio::test]
async fn the_meter_counts_what_the_store_sees() {
    let world = World::new(41_000).await.expect("a world can be made");
    let item = "web-01".parse().expect("a name");
    let mut disk = Disk::new(200 * MIB);
    disk.write_noise(stillpoint_model::Extent::new(0, 3 * MIB), 1);
    disk.write_noise(stillpoint_model::Extent::new(150 * MIB, MIB), 2);
    world.platform.put("web-01/os", disk);
    world.protect(&item, &["os".parse().expect("a name")]).await.expect("a machine can be protected");
    for _ in 0..2 {
        let (calls, metered) = (world.store.calls().len() as u64, world.vault().store().requests());
        world.backup(&item).await.expect("a backup");
        let made = world.vault().store().requests() - metered;
        let all = made.put + made.get + made.list + made.head + made.delete;
        assert_eq!(all, world.store.calls().len() as u64 - calls, "{made:?}");
        assert!(all > 20, "{made:?}");
    }
}
