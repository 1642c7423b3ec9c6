//! Restores onto NBD exports.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command},
    thread,
    time::Duration,
};

use bytes::Bytes;
use stillpoint_model::{ErrorKind, Extent, geometry::CHUNK_BYTES};
use stillpoint_ports::{Target, TargetDisk};

use super::{SIZE, job, refusal, target};
use crate::ImageTarget;

const TARGET: ImageTarget = ImageTarget;
const LARGER: u64 = SIZE + CHUNK_BYTES;

/// A server of one raw file, which ends with the test.
struct Server(Child);

impl Server {
    fn start(folder: &Path, options: &[&str]) -> Self {
        let socket = folder.join("nbd");
        let mut command = Command::new("qemu-nbd");
        command
            .args(["-f", "raw", "-x", "os", "--persistent", "-e", "4", "-k"])
            .arg(&socket)
            .args(options)
            .arg(folder.join("raw"));
        let server = Self(command.spawn().expect("qemu-nbd is installed"));
        // The socket is there a moment before it is listened to.
        while UnixStream::connect(&socket).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn raw(folder: &Path, size: u64, ends: &[u8]) {
    let mut bytes = vec![0; size as usize];
    let at = bytes.len() - ends.len();
    bytes[at..].copy_from_slice(ends);
    fs::write(folder.join("raw"), bytes).unwrap();
}

fn export(folder: &Path) -> TargetDisk {
    let location = format!("nbd+unix:///os?socket={}", folder.join("nbd").display());
    TargetDisk { location, ..target("os", folder) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_written_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    raw(folder.path(), LARGER, &[]);
    let _server = Server::start(folder.path(), &["--discard=unmap"]);
    let disks = [export(folder.path())];
    TARGET.check(job(1), &disks).await.unwrap();
    TARGET.prepare(job(1), &disks).await.unwrap();
    let writer = TARGET.open(job(1), &disks[0]).await.unwrap();
    writer.write(0, Bytes::from(vec![3; 2 * CHUNK_BYTES as usize])).await.unwrap();
    writer.zero(Extent::new(CHUNK_BYTES, SIZE - CHUNK_BYTES)).await.unwrap();
    writer.write(SIZE - 512, Bytes::from_static(&[5; 512])).await.unwrap();
    assert_eq!(refusal(writer.write(SIZE, Bytes::from_static(&[5; 512])).await).0, ErrorKind::Internal);
    writer.sync().await.unwrap();
    TARGET.publish(job(1), &disks).await.unwrap();
    TARGET.discard(job(1), &disks).await.unwrap();
    let mut expected = vec![0; LARGER as usize];
    expected[..CHUNK_BYTES as usize].fill(3);
    expected[SIZE as usize - 512..SIZE as usize].fill(5);
    assert!(fs::read(folder.path().join("raw")).unwrap() == expected);
    assert!(refusal(TARGET.check(job(2), &disks).await).1.contains("holds data"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_disk_can_be_restored_to_is_refused_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let disks = [export(folder.path())];
    assert_eq!(refusal(TARGET.check(job(1), &disks).await).0, ErrorKind::Unavailable);
    for (size, ends, options, kind, says) in [
        (SIZE - 512, &[][..], &[][..], ErrorKind::Invalid, "as large"),
        (LARGER, &[7], &[], ErrorKind::Conflict, "--overwrite"),
        (LARGER, &[], &["--read-only"], ErrorKind::Denied, "read-only"),
    ] {
        raw(folder.path(), size, ends);
        let server = Server::start(folder.path(), options);
        let (found, line) = refusal(TARGET.check(job(1), &disks).await);
        assert!(found == kind && line.contains(says), "{line}");
        if says == "--overwrite" {
            TARGET.check(job(1), &[TargetDisk { overwrite: true, ..disks[0].clone() }]).await.unwrap();
        }
        let (_, line) =
            refusal(TARGET.check(job(1), &[TargetDisk { location: "nbd+unix:///none".into(), ..disks[0].clone() }]).await);
        assert!(line.contains("write nbd://"), "{line}");
        drop(server);
        fs::remove_file(folder.path().join("nbd")).unwrap();
    }
}
