//! Restores into qcow2 images, through real storage daemons that are killed.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::Bytes;
use rustix::{
    net::sockopt::socket_peercred,
    process::{Pid, Signal, kill_process, test_kill_process},
};
use stillpoint_model::{ErrorKind, Extent};
use stillpoint_ports::{DiskWriter, Target, TargetDisk};

use super::{SIZE, disk, job, names, refusal, target};
use crate::ImageTarget;

const TARGET: ImageTarget = ImageTarget;

fn image(name: &str, path: &Path) -> TargetDisk {
    let plain = target(name, path);
    TargetDisk { location: format!("qcow2:{}", plain.location), ..plain }
}

fn sockets(folder: &Path) -> Vec<PathBuf> {
    names(folder).into_iter().filter(|name| name.starts_with(".sp-")).map(|name| folder.join(name)).collect()
}

/// The daemon of the only unfinished image in a folder.
fn daemon(folder: &Path) -> Pid {
    let found = sockets(folder);
    assert_eq!(found.len(), 1, "{found:?}");
    socket_peercred(UnixStream::connect(&found[0]).unwrap()).unwrap().pid
}

fn is_gone(daemon: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{}/status", daemon.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(daemon).is_err() || state.contains("State:\tZ")
}

fn kill(daemon: Pid) {
    kill_process(daemon, Signal::KILL).unwrap();
    while !is_gone(daemon) {
        std::thread::yield_now();
    }
}

fn qemu_img(args: &[&str], paths: &[&Path]) {
    let output = Command::new("qemu-img").args(args).args(paths).output().unwrap();
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    // Of disks of two sizes it only warns.
    assert!(output.status.success() && !said.contains("Warning"), "{args:?}: {said}");
}

/// Asserts that an image is sound, complete, and holds the bytes of a raw disk.
fn holds(image: &Path, raw: &Path) {
    qemu_img(&["check", "-f", "qcow2"], &[image]);
    qemu_img(&["compare", "-f", "raw", "-F", "qcow2"], &[raw, image]);
}

async fn write_part(writer: &dyn DiskWriter, bytes: &[u8], extent: Extent) {
    let part = &bytes[extent.offset as usize..extent.end() as usize];
    if part.iter().all(|byte| *byte == 0) {
        writer.zero(extent).await.unwrap();
    } else {
        writer.write(extent.offset, Bytes::copy_from_slice(part)).await.unwrap();
    }
}

async fn write_all(writer: &dyn DiskWriter, bytes: &[u8]) {
    for offset in (0..SIZE).step_by(1 << 16) {
        write_part(writer, bytes, Extent::new(offset, (SIZE - offset).min(1 << 16))).await;
    }
    writer.sync().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_complete_sparse_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, path) = (disk(folder.path(), "raw"), folder.path().join("os.qcow2"));
    let disks = [image("os", &path)];
    TARGET.check(job(1), &disks).await.unwrap();
    TARGET.prepare(job(1), &disks).await.unwrap();
    // All first steps at once: one daemon serves them.
    let (one, other) = tokio::join!(TARGET.open(job(1), &disks[0]), TARGET.open(job(1), &disks[0]));
    let (one, other) = (one.unwrap(), other.unwrap());
    let daemon = daemon(folder.path());
    let bytes = fs::read(&raw).unwrap();
    write_all(&*one, &bytes).await;
    write_all(&*other, &bytes).await;
    TARGET.prepare(job(1), &disks).await.unwrap();
    assert!(!path.exists());
    drop((one, other));
    TARGET.publish(job(1), &disks).await.unwrap();
    TARGET.publish(job(1), &disks).await.unwrap();
    assert!(is_gone(daemon));
    assert_eq!(names(folder.path()), ["os.qcow2", "raw"]);
    holds(&path, &raw);
    assert!(fs::metadata(&path).unwrap().len() < 1 << 20, "zeros take no space");
    assert_eq!(refusal(TARGET.check(job(2), &disks).await).0, ErrorKind::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_loses_nothing_that_was_synced() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, path) = (disk(folder.path(), "raw"), folder.path().join("os.qcow2"));
    let bytes: Vec<u8> = (0..SIZE).map(|at| (at / 512 % 251) as u8 + 1).collect();
    fs::write(&raw, &bytes).unwrap();
    let disks = [image("os", &path)];
    TARGET.prepare(job(1), &disks).await.unwrap();
    let half = SIZE / 2 / 512 * 512;
    let writer = TARGET.open(job(1), &disks[0]).await.unwrap();
    write_part(&*writer, &bytes, Extent::new(0, half)).await;
    writer.sync().await.unwrap();
    write_part(&*writer, &bytes, Extent::new(half, SIZE - half)).await;
    kill(daemon(folder.path()));
    assert_eq!(refusal(writer.sync().await).0, ErrorKind::Unavailable);

    let writer = TARGET.open(job(1), &disks[0]).await.unwrap();
    write_part(&*writer, &bytes, Extent::new(half, SIZE - half)).await;
    writer.sync().await.unwrap();
    // Killed again, before the image gets its name.
    kill(daemon(folder.path()));
    TARGET.publish(job(1), &disks).await.unwrap();
    assert_eq!(names(folder.path()), ["os.qcow2", "raw"]);
    qemu_img(&["compare", "-f", "raw", "-F", "qcow2"], &[&raw, &path]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_discarded_leaves_no_file_and_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("os.qcow2");
    let disks = [image("os", &path)];
    TARGET.prepare(job(1), &disks).await.unwrap();
    fs::write(folder.path().join(format!(".os.qcow2.stillpoint-{}.draft-7-0", job(1))), "a killed try").unwrap();
    let writer = TARGET.open(job(1), &disks[0]).await.unwrap();
    writer.write(0, Bytes::from_static(&[1; 512])).await.unwrap();
    let daemon = daemon(folder.path());
    TARGET.discard(job(1), &disks).await.unwrap();
    TARGET.discard(job(1), &disks).await.unwrap();
    assert!(is_gone(daemon) && names(folder.path()).is_empty());
    assert_eq!(refusal(TARGET.open(job(1), &disks[0]).await).0, ErrorKind::Missing);
    assert_eq!(refusal(TARGET.publish(job(1), &disks).await).0, ErrorKind::Missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_replaced_can_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, path) = (disk(folder.path(), "raw"), folder.path().join("os.qcow2"));
    fs::write(&path, "old").unwrap();
    let disks = [TargetDisk { overwrite: true, keep_replaced: true, ..image("os", &path) }];
    TARGET.prepare(job(1), &disks).await.unwrap();
    let writer = TARGET.open(job(1), &disks[0]).await.unwrap();
    write_all(&*writer, &fs::read(&raw).unwrap()).await;
    let kept = folder.path().join(format!("os.qcow2.before-{}", job(1)));
    // An earlier try was killed between the link and the new name.
    fs::hard_link(&path, &kept).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    TARGET.publish(job(1), &disks).await.unwrap();
    TARGET.publish(job(1), &disks).await.unwrap();
    assert_eq!(fs::read(&kept).unwrap(), b"old");
    holds(&path, &raw);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_image_can_be_is_said_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(90));
    fs::create_dir(&deep).unwrap();
    let (kind, line) = refusal(TARGET.check(job(1), &[image("os", &deep.join("os"))]).await);
    assert!(kind == ErrorKind::Invalid && line.contains("too long"), "{line}");
    let path = folder.path().join("os");
    let (kind, line) = refusal(TARGET.check(job(1), &[image("os", &path), target("data", &path)]).await);
    assert!(kind == ErrorKind::Invalid && line.contains("another disk too"), "{line}");
}
