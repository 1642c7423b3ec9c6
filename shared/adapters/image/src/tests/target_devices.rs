use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use bytes::Bytes;
use stillpoint_model::{
    ErrorKind::{Conflict, Invalid},
    Extent,
    geometry::CHUNK_BYTES,
};
use stillpoint_ports::{Target, TargetDisk};

use super::{
    SIZE, job,
    parts::{LoopDevice, Qemu, run},
    refusal, target,
};
use crate::ImageTarget;

const TARGET: ImageTarget = ImageTarget;
/// Larger than the disk by 4 MiB.
const DEVICE_SIZE: u64 = SIZE - 512 + (4 << 20);

fn put(path: &Path, offset: u64) {
    let device = OpenOptions::new().write(true).open(path).unwrap();
    device.write_all_at(&[3; 512], offset).unwrap();
    device.sync_all().unwrap();
}

#[tokio::test]
async fn a_device_gets_the_disk_and_nothing_past_it() {
    let device = LoopDevice::new(DEVICE_SIZE);
    put(&device.path, SIZE);
    // Data of whatever was there before, away from both ends.
    put(&device.path, 33 * CHUNK_BYTES);
    let disks = [target("os", &device.path)];
    TARGET.prepare(job(1), &disks).await.unwrap();
    let os = TARGET.open(job(1), &disks[0]).await.unwrap();
    let other = TARGET.open(job(1), &disks[0]).await.expect("several segments are written at once");
    os.write(CHUNK_BYTES, Bytes::from(vec![1; 65_536])).await.unwrap();
    other.write(SIZE - 512, Bytes::from_static(&[2; 512])).await.unwrap();
    os.zero(Extent::new(32 * CHUNK_BYTES, 2 * CHUNK_BYTES)).await.unwrap();
    os.zero(Extent::new(CHUNK_BYTES + 512, 512)).await.unwrap();
    os.sync().await.unwrap();
    TARGET.publish(job(1), &disks).await.unwrap();
    TARGET.publish(job(1), &disks).await.unwrap();
    TARGET.discard(job(1), &disks).await.unwrap();

    let mut expected = vec![0; usize::try_from(DEVICE_SIZE).unwrap()];
    let at = |offset: u64| usize::try_from(offset).unwrap();
    expected[at(CHUNK_BYTES)..at(2 * CHUNK_BYTES)].fill(1);
    expected[at(CHUNK_BYTES) + 512..at(CHUNK_BYTES) + 1024].fill(0);
    expected[at(SIZE) - 512..at(SIZE)].fill(2);
    expected[at(SIZE)..at(SIZE) + 512].fill(3);
    assert!(fs::read(&device.path).unwrap() == expected);
}

#[tokio::test]
async fn a_device_that_holds_data_is_replaced_only_when_told() {
    for offset in [0, (1 << 20) - 512, DEVICE_SIZE - (1 << 20), DEVICE_SIZE - 512] {
        let device = LoopDevice::new(DEVICE_SIZE);
        put(&device.path, offset);
        let disk = target("os", &device.path);
        let (kind, line) = refusal(TARGET.prepare(job(1), std::slice::from_ref(&disk)).await);
        assert_eq!(kind, Conflict);
        assert!(line.ends_with("holds data; give --overwrite to replace it"), "{line}");
        TARGET.prepare(job(1), &[TargetDisk { overwrite: true, ..disk }]).await.unwrap();
    }
}

#[tokio::test]
async fn a_device_that_is_too_small_or_in_use_is_refused() {
    let small = LoopDevice::new(SIZE - 512);
    let (kind, line) = refusal(TARGET.prepare(job(1), &[target("os", &small.path)]).await);
    assert_eq!(kind, Invalid);
    assert!(line.contains("has 4194304 bytes and the disk 4194816"), "{line}");

    let device = LoopDevice::new(8 << 20);
    let disks = [TargetDisk { overwrite: true, ..target("os", &device.path) }];
    let machine = Qemu::writes(&device.path);
    assert_eq!(refusal(TARGET.prepare(job(1), &disks).await).0, Conflict);
    drop(machine);

    run("mkfs.ext4", &["-q", device.path.to_str().unwrap()]);
    let folder = tempfile::tempdir().unwrap();
    run("mount", &[device.path.to_str().unwrap(), folder.path().to_str().unwrap()]);
    let refused = TARGET.prepare(job(1), &disks).await;
    run("umount", &[folder.path().to_str().unwrap()]);
    let (kind, line) = refusal(refused);
    assert_eq!(kind, Conflict);
    assert!(line.contains("in use by this system") && line.contains("unmount it"), "{line}");
    TARGET.prepare(job(1), &disks).await.unwrap();
}
