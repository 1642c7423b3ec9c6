//! What the platform `image` writes into plans for itself.

use std::{fs, sync::Arc};

use stillpoint_image::ImagePlatform;
use stillpoint_model::{Consistency, Error, JobId};
use stillpoint_ports::{Baseline, DiskSnapshot, DiskSource, MachineSource, Platform, SnapshotRequest};
use stillpoint_testkit::TestClock;
use tokio::runtime::{Builder, Runtime};
use ulid::Ulid;

use super::{Memory, Target, text};
use crate::attempt::Outcome;

const DISK_BYTES: usize = 1 << 16;
/// Stands for the file that is there, wherever that is.
const FILE: &str = "$file";

pub const HANDLE: Target = Target {
    name: "image_handle",
    is_text: true,
    bytes_max: 8 * 1024,
    inputs: 2_000,
    memory: Memory::Fixed(4 << 20),
    seeds,
    check: open,
};

fn platform() -> (Runtime, ImagePlatform) {
    let runtime = Builder::new_current_thread().build().expect("a runtime can be made");
    (runtime, ImagePlatform::new(Arc::new(TestClock::at(0))))
}

fn file() -> String {
    format!("{}/handle.raw", env!("CARGO_TARGET_TMPDIR"))
}

/// Of a file that is there, and of some that are not.
fn seeds() -> Vec<Vec<u8>> {
    let file = file();
    fs::write(&file, vec![1; DISK_BYTES]).expect("a file can be written");
    let request = SnapshotRequest {
        job: JobId::new(Ulid::from_parts(1, 1)),
        item: "web-01".parse().expect("a name"),
        machine: MachineSource {
            disks: vec![DiskSource { name: "os".parse().expect("a name"), location: file.clone() }],
            ..MachineSource::default()
        },
        wanted: Consistency::Crash,
        since: None,
    };
    let (runtime, platform) = platform();
    let real = runtime.block_on(platform.snapshot(&request)).expect("a file can be snapshotted").disks.remove(0).handle;
    let others = [
        r#"{"path":"/nowhere/.os.raw.stillpoint-01M82F1K1G1QZHN76V01SPE78D.snapshot","mode":"reflink","identity":{"dev":1,"inode":2,"size":65536,"mtime_ns":-3,"ctime_ns":4}}"#,
        r#"{"path":"/dev/nowhere","mode":"device","identity":{"dev":1,"inode":0,"size":65536,"mtime_ns":0,"ctime_ns":0,"sectors_written":7}}"#,
    ];
    others.map(|handle| handle.as_bytes().to_vec()).into_iter().chain([real.replace(&file, FILE).into_bytes()]).collect()
}

/// Opens the disk that an input is the handle of, as `transfer` does, and reads it.
fn open(input: &[u8]) -> Outcome {
    let disk = DiskSnapshot {
        name: "os".parse().expect("a name"),
        size_bytes: DISK_BYTES as u64,
        extents: Vec::new(),
        baseline: Baseline::Zero,
        handle: text(input)?.replace(FILE, &file()),
    };
    let (runtime, platform) = platform();
    let read = runtime.block_on(async {
        let reader = platform.open(&disk).await?;
        let bytes = reader.read(0, vec![0; DISK_BYTES]).await?;
        reader.confirm().await?;
        Ok::<_, Error>(bytes)
    });
    let bytes = read.map_err(|error| {
        let line = error.one_line();
        assert!(!line.contains("panicked"), "{line}");
        line
    })?;
    assert_eq!(bytes, vec![1; DISK_BYTES], "another file was read");
    Ok(String::new())
}
