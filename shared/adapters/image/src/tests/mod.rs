//! Real file systems, real loop devices, the real QEMU: needs root and `apt-get install xfsprogs btrfs-progs e2fsprogs
//! qemu-utils`; without them these tests fail and say so.

mod devices;
mod in_place;
mod inspect;
mod locks;
mod parts;
mod reflinks;
mod target_devices;
mod target_files;
mod target_nbd;
mod target_qcow2;

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use stillpoint_model::{Consistency, Error, Extent, JobId, geometry::CHUNK_BYTES};
use stillpoint_ports::{
    DiskReader, DiskSnapshot, DiskSource, Ending, FoundDisk, Holding, MachineSource, Platform, Snapshot, SnapshotRequest,
    TargetDisk,
};
use ulid::Ulid;

use crate::ImagePlatform;
use parts::Wall;

/// Size of most test disks: 64 chunks and one sector.
const SIZE: u64 = 64 * CHUNK_BYTES + 512;

fn platform() -> ImagePlatform {
    ImagePlatform::new(Arc::new(Wall))
}

fn job(number: u128) -> JobId {
    JobId::new(Ulid::from_parts(1_700_000_000_000, number))
}

fn source(name: &str, path: &Path) -> DiskSource {
    DiskSource { name: name.parse().unwrap(), location: path.to_str().unwrap().to_owned() }
}

fn machine(disks: &[DiskSource]) -> MachineSource {
    MachineSource { disks: disks.to_vec(), ..MachineSource::default() }
}

async fn inspect(disks: &[DiskSource]) -> Result<Vec<u64>, Error> {
    let sizes = |found: Vec<FoundDisk>| found.iter().map(|disk| disk.size_bytes).collect();
    platform().inspect(&machine(disks)).await.map(sizes)
}

/// Gives back a snapshot, or what lies beside the disks.
async fn release(job: JobId, disks: &[DiskSource], snapshot: Option<&Snapshot>) -> Result<(), Error> {
    let machine = machine(disks);
    let held = snapshot.map_or(Holding::Machine(&machine), Holding::Snapshot);
    platform().release(job, held, Ending::Abandoned).await
}

fn request(disks: &[DiskSource]) -> SnapshotRequest {
    let item = "web-01".parse().unwrap();
    SnapshotRequest { job: job(1), item, machine: machine(disks), wanted: Consistency::Crash, since: None }
}

async fn snapshot(disks: &[DiskSource]) -> Result<Snapshot, Error> {
    platform().snapshot(&request(disks)).await
}

async fn open(disk: &DiskSnapshot) -> Result<Box<dyn DiskReader>, Error> {
    platform().open(disk).await
}

/// Kind and line of the error that must have come.
fn refusal<T>(result: Result<T, Error>) -> (stillpoint_model::ErrorKind, String) {
    let error = result.err().expect("it must be refused");
    let line = error.one_line();
    assert!(!line.chars().any(char::is_control), "one line: {line:?}");
    (error.kind(), line)
}

/// A disk of `SIZE` with data in its fourth and last chunk only.
fn disk(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    let file = fs::File::create_new(&path).unwrap();
    file.set_len(SIZE).unwrap();
    file.write_all_at(&[7; 1000], 3 * CHUNK_BYTES + 100).unwrap();
    file.write_all_at(&[9; 512], SIZE - 512).unwrap();
    path
}

/// What [`disk`] has.
fn data_extents() -> Vec<Extent> {
    vec![Extent::new(3 * CHUNK_BYTES, CHUNK_BYTES), Extent::new(64 * CHUNK_BYTES, 512)]
}

/// Changes one byte of a disk, and waits for nothing.
fn scribble(path: &Path) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[1], 5 * CHUNK_BYTES).unwrap();
}

/// All bytes of a disk as the extents of its snapshot tell them.
async fn read_all(disk: &DiskSnapshot) -> Vec<u8> {
    let reader = open(disk).await.unwrap();
    let mut bytes = vec![0; usize::try_from(disk.size_bytes).unwrap()];
    for extent in &disk.extents {
        let (start, length) = (usize::try_from(extent.offset).unwrap(), usize::try_from(extent.length).unwrap());
        let part = reader.read(extent.offset, vec![0xAA; length]).await.unwrap();
        bytes[start..start + length].copy_from_slice(&part);
    }
    reader.confirm().await.unwrap();
    bytes
}

/// Writes to `path` for as long as `work` runs.
fn while_writing<T: Send>(path: &Path, work: impl Future<Output = T> + Send) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            for count in 0_u64.. {
                file.write_all_at(&count.to_be_bytes(), 0).unwrap();
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        let result = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work);
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "lost+found");
    names.sort();
    names
}

fn target(name: &str, path: &Path) -> TargetDisk {
    TargetDisk {
        name: name.parse().unwrap(),
        size_bytes: SIZE,
        data_bytes: 4096,
        location: path.to_str().unwrap().to_owned(),
        overwrite: false,
        keep_replaced: false,
        limits: None,
    }
}
