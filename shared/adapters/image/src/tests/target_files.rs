use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use bytes::Bytes;
use stillpoint_model::{
    ErrorKind::{Conflict, Denied, Internal, Invalid, Missing, Unavailable},
    Extent,
    geometry::CHUNK_BYTES,
};
use stillpoint_ports::{DiskWriter, Target, TargetDisk};

use super::{
    SIZE, job, names,
    parts::{Mount, run},
    refusal, target,
};
use crate::ImageTarget;

const TARGET: ImageTarget = ImageTarget;

fn partial(name: &str) -> String {
    format!(".{name}.stillpoint-{}.partial", job(1))
}

async fn writer(disk: &TargetDisk) -> Box<dyn DiskWriter> {
    TARGET.open(job(1), disk).await.unwrap()
}

#[tokio::test]
async fn a_restored_file_is_sparse_private_and_appears_complete() {
    let mount = Mount::ext4();
    let path = mount.path().join("os.raw");
    // Larger than the file system: only data needs space.
    let disks = [TargetDisk { size_bytes: 1 << 30, ..target("os", &path) }];
    TARGET.prepare(job(1), &disks).await.unwrap();
    assert_eq!(names(mount.path()), [partial("os.raw")], "not under its name yet");
    let os = writer(&disks[0]).await;
    os.write((1 << 30) - 4096, Bytes::from_static(&[7; 4096])).await.unwrap();
    os.zero(Extent::new(0, 1 << 29)).await.unwrap();
    os.sync().await.unwrap();
    for _ in 0..2 {
        TARGET.publish(job(1), &disks).await.unwrap();
        assert_eq!(names(mount.path()), ["os.raw"]);
    }
    let found = fs::metadata(&path).unwrap();
    assert_eq!((found.len(), found.mode() & 0o777), (1 << 30, 0o600));
    assert!(found.blocks() * 512 <= 8192, "{} blocks", found.blocks());
    TARGET.discard(job(1), &disks).await.unwrap();
    assert_eq!(names(mount.path()), ["os.raw"], "what is published is no longer the job's to discard");
}

/// The event that ends a restore may be delivered twice at once.
#[tokio::test]
async fn two_tries_that_publish_at_once_both_find_it_published() {
    let folder = tempfile::tempdir().unwrap();
    for overwrite in [false, true] {
        for round in 0..50 {
            let path = folder.path().join(format!("{overwrite}-{round}.raw"));
            let disks = [TargetDisk { overwrite, ..target("os", &path) }];
            TARGET.prepare(job(1), &disks).await.unwrap();
            let (one, two) = tokio::join!(TARGET.publish(job(1), &disks), TARGET.publish(job(1), &disks));
            one.and(two).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), SIZE);
        }
    }
    assert_eq!(names(folder.path()).len(), 100, "no partial file is left");
}

/// Ctrl-C drops the future and discards the job, perhaps before the thread that makes the files gets to it.
#[test]
fn a_prepare_that_nobody_waits_for_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disks = [target("os", &folder.path().join("os.raw"))];
    for _ in 0..20 {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut prepare = TARGET.prepare(job(1), &disks);
            std::future::poll_fn(|context| {
                assert!(prepare.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
        });
        // Waits for its threads.
        drop(runtime);
        assert_eq!(names(folder.path()), [] as [&str; 0]);
    }
}

#[tokio::test]
async fn a_check_touches_nothing_and_refuses_what_prepare_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("os.raw");
    let disks = [target("os", &path)];
    TARGET.check(job(1), &disks).await.unwrap();
    assert_eq!(names(folder.path()), [] as [&str; 0]);
    fs::write(&path, "precious").unwrap();
    assert_eq!(refusal(TARGET.check(job(1), &disks).await).0, Conflict);
}

#[tokio::test]
async fn a_repeated_prepare_keeps_what_was_written() {
    for mount in [Mount::ext4(), Mount::xfs(), Mount::tmpfs("8m")] {
        let path = mount.path().join("os.raw");
        let disks = [target("os", &path)];
        TARGET.prepare(job(1), &disks).await.unwrap();
        let first = writer(&disks[0]).await;
        first.write(0, Bytes::from(vec![1; 3 * 65_536])).await.unwrap();
        first.sync().await.unwrap();
        TARGET.prepare(job(1), &disks).await.unwrap();
        let second = writer(&disks[0]).await;
        second.zero(Extent::new(CHUNK_BYTES, CHUNK_BYTES)).await.unwrap();
        second.sync().await.unwrap();
        TARGET.publish(job(1), &disks).await.unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, SIZE);
        let expected = |index: usize| u8::from(index / 65_536 == 0 || index / 65_536 == 2);
        assert!(bytes.iter().enumerate().all(|(index, byte)| *byte == expected(index)));
        assert_eq!(fs::metadata(&path).unwrap().blocks() * 512, 2 * CHUNK_BYTES, "the zeros are a hole again");
    }
}

#[tokio::test]
async fn what_exists_is_replaced_only_when_told_and_keeps_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("os.raw");
    fs::write(&path, "precious").unwrap();
    std::os::unix::fs::chown(&path, Some(1234), Some(2345)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let (kind, line) = refusal(TARGET.prepare(job(1), &[target("os", &path)]).await);
    assert_eq!(kind, Conflict);
    assert!(line.ends_with("exists; give --overwrite to replace it"), "{line}");
    assert_eq!(names(folder.path()), ["os.raw"]);

    let disks = [TargetDisk { overwrite: true, ..target("os", &path) }];
    TARGET.prepare(job(1), &disks).await.unwrap();
    writer(&disks[0]).await.write(0, Bytes::from_static(b"restored")).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"precious", "until the restore is complete");
    TARGET.publish(job(1), &disks).await.unwrap();
    TARGET.publish(job(1), &disks).await.unwrap();
    assert!(fs::read(&path).unwrap().starts_with(b"restored\0"));
    let found = fs::metadata(&path).unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (1234, 2345, 0o640));
    assert_eq!(names(folder.path()), ["os.raw"]);
}

#[tokio::test]
async fn a_place_taken_meanwhile_is_left_alone_and_no_other_disk_appears() {
    let folder = tempfile::tempdir().unwrap();
    let (os, data) = (folder.path().join("os.raw"), folder.path().join("data.raw"));
    let disks = [target("os", &os), target("data", &data)];
    TARGET.prepare(job(1), &disks).await.unwrap();
    fs::write(&data, "new").unwrap();
    assert_eq!(refusal(TARGET.publish(job(1), &disks).await).0, Conflict);
    assert_eq!(fs::read(&data).unwrap(), b"new");
    assert!(!os.exists());
    fs::remove_file(&data).unwrap();
    TARGET.publish(job(1), &disks).await.unwrap();
    assert_eq!(names(folder.path()), ["data.raw", "os.raw"]);
}

#[tokio::test]
async fn a_publish_cut_in_half_is_finished_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a", "b", "c"].map(|name| folder.path().join(name));
    let disks = ["a", "b", "c"].map(|name| target(name, &folder.path().join(name)));
    TARGET.prepare(job(1), &disks).await.unwrap();
    // Killed after the first rename, and, where links stand in for it, between link and unlink of the second.
    fs::rename(folder.path().join(partial("a")), &paths[0]).unwrap();
    fs::hard_link(folder.path().join(partial("b")), &paths[1]).unwrap();
    TARGET.publish(job(1), &disks).await.unwrap();
    assert!(paths.iter().all(|path| fs::metadata(path).unwrap().len() == SIZE));
}

#[tokio::test]
async fn nothing_is_published_that_was_not_prepared() {
    let folder = tempfile::tempdir().unwrap();
    let disk = target("os", &folder.path().join("os.raw"));
    assert_eq!(refusal(TARGET.open(job(1), &disk).await).0, Missing);
    assert_eq!(refusal(TARGET.publish(job(1), std::slice::from_ref(&disk)).await).0, Missing);
    fs::write(folder.path().join("os.raw"), "of another size").unwrap();
    assert_eq!(refusal(TARGET.publish(job(1), std::slice::from_ref(&disk)).await).0, Missing);
    fs::remove_file(folder.path().join("os.raw")).unwrap();
    TARGET.prepare(job(1), std::slice::from_ref(&disk)).await.unwrap();
    for _ in 0..2 {
        TARGET.discard(job(1), std::slice::from_ref(&disk)).await.unwrap();
        assert!(names(folder.path()).is_empty());
    }
    assert_eq!(refusal(TARGET.open(job(1), &disk).await).0, Missing);
}

#[tokio::test]
async fn what_does_not_fit_is_seen_before_anything_is_made() {
    let mount = Mount::tmpfs("1m");
    let disk = |name: &str, data_bytes| TargetDisk { data_bytes, ..target(name, &mount.path().join(name)) };
    let (kind, line) = refusal(TARGET.prepare(job(1), &[disk("a", 2 << 20)]).await);
    assert_eq!(kind, Invalid);
    assert!(line.contains("restore needs 2097152 bytes, ") && line.contains(" has 1048576 free"), "{line}");
    assert_eq!(refusal(TARGET.prepare(job(1), &[disk("a", 600 << 10), disk("b", 600 << 10)]).await).0, Invalid, "together");
    assert!(names(mount.path()).is_empty());

    let disks = [disk("a", 600 << 10)];
    TARGET.prepare(job(1), &disks).await.unwrap();
    writer(&disks[0]).await.write(0, Bytes::from(vec![1; 600 << 10])).await.unwrap();
    TARGET.prepare(job(1), &disks).await.expect("what is written already needs no more space");
}

#[tokio::test]
async fn a_file_system_that_fills_up_is_passing_trouble() {
    let mount = Mount::tmpfs("1m");
    let disks = [target("os", &mount.path().join("os.raw"))];
    TARGET.prepare(job(1), &disks).await.unwrap();
    let (kind, line) = refusal(writer(&disks[0]).await.write(0, Bytes::from(vec![1; 2 << 20])).await);
    assert_eq!(kind, Unavailable);
    assert!(line.contains("disk os (") && line.contains("cannot write"), "{line}");
}

#[tokio::test]
async fn places_that_cannot_be_are_refused_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("folder")).unwrap();
    fs::write(path("file"), "").unwrap();
    std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
    std::os::unix::fs::symlink(path("nowhere"), path("dangling")).unwrap();
    run("mkfifo", &[path("pipe").to_str().unwrap()]);
    let before = names(folder.path());
    let cases = [
        (path("none/os.raw"), Missing, "does not exist; create it"),
        (path("file/os.raw"), Invalid, "is not a folder"),
        (path("folder"), Invalid, "is a folder"),
        (path("link"), Invalid, "is a symbolic link"),
        (path("dangling"), Invalid, "is a symbolic link"),
        (path("pipe"), Invalid, "neither a file nor a block device"),
        (path(&"n".repeat(230)), Invalid, "too long"),
        ("os.raw".into(), Invalid, "not an absolute path"),
    ];
    let good = TargetDisk { name: "good".parse().unwrap(), ..target("good", &path("good.raw")) };
    for (bad, kind, reason) in cases {
        let disks = [good.clone(), TargetDisk { overwrite: true, ..target("os", &bad) }];
        let (found, line) = refusal(TARGET.prepare(job(1), &disks).await);
        assert_eq!(found, kind, "{line}");
        assert!(line.contains("disk os (") && line.contains(reason), "{line}");
        assert_eq!(names(folder.path()), before, "{line}");
    }
}

#[tokio::test]
async fn two_disks_never_share_a_target() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real");
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, folder.path().join("alias")).unwrap();
    for other in [real.join("os.raw"), folder.path().join("alias/os.raw")] {
        let (kind, line) = refusal(TARGET.prepare(job(1), &[target("os", &real.join("os.raw")), target("data", &other)]).await);
        assert_eq!(kind, Invalid);
        assert!(line.contains("disk data (") && line.contains("the target of another disk too"), "{line}");
    }
    assert!(names(&real).is_empty());
}

#[tokio::test]
async fn a_prepare_that_fails_half_way_takes_back_what_it_made() {
    let folder = tempfile::tempdir().unwrap();
    let disks = ["a", "b", "c"].map(|name| target(name, &folder.path().join(name)));
    TARGET.prepare(job(1), &disks[..1]).await.unwrap();
    fs::create_dir(folder.path().join(partial("c"))).unwrap();
    assert!(TARGET.prepare(job(1), &disks).await.is_err());
    assert_eq!(names(folder.path()), [partial("a"), partial("c")], "b was made by this call, a by an earlier one");
}

#[tokio::test]
async fn a_read_only_folder_is_denied_beforehand() {
    let mount = Mount::tmpfs("1m");
    mount.read_only();
    let (kind, line) = refusal(TARGET.prepare(job(1), &[target("os", &mount.path().join("os.raw"))]).await);
    assert_eq!(kind, Denied);
    assert!(line.contains("may not write to"), "{line}");
}

#[tokio::test]
async fn a_partial_file_is_not_followed_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    std::os::unix::fs::symlink(&victim, folder.path().join(partial("os.raw"))).unwrap();
    let disk = target("os", Path::new(&folder.path().join("os.raw")));
    assert!(TARGET.prepare(job(1), std::slice::from_ref(&disk)).await.is_err());
    assert!(TARGET.open(job(1), &disk).await.is_err());
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
}

#[tokio::test]
async fn nothing_is_written_past_the_disks_end() {
    let folder = tempfile::tempdir().unwrap();
    let disk = target("os", &folder.path().join("os.raw"));
    TARGET.prepare(job(1), std::slice::from_ref(&disk)).await.unwrap();
    let os = writer(&disk).await;
    os.write(SIZE - 512, Bytes::from_static(&[1; 512])).await.unwrap();
    assert_eq!(refusal(os.write(SIZE - 511, Bytes::from_static(&[1; 512])).await).0, Internal);
    assert_eq!(refusal(os.zero(Extent::new(SIZE, 512)).await).0, Internal);
    assert_eq!(refusal(os.zero(Extent::new(512, u64::MAX)).await).0, Internal);
}
