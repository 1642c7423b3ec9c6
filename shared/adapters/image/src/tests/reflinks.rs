use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use stillpoint_model::ErrorKind::{Conflict, Invalid, Missing};
use stillpoint_ports::{Platform, SnapshotRequest};

use super::{
    SIZE, data_extents, disk, job, names, open,
    parts::{Mount, Qemu},
    platform, read_all, refusal, release, request, scribble, snapshot, source, while_writing,
};

fn hidden(number: u128, name: &str) -> String {
    format!(".{name}.stillpoint-{}.snapshot", job(number))
}

#[tokio::test]
async fn a_clone_keeps_the_instant_while_the_disk_goes_on() {
    for mount in [Mount::xfs(), Mount::btrfs()] {
        let path = disk(mount.path(), "os.raw");
        let before = fs::read(&path).unwrap();
        let taken = snapshot(&[source("os", &path)]).await.unwrap();
        scribble(&path);
        let os = &taken.disks[0];
        assert_eq!((os.size_bytes, &os.extents), (SIZE, &data_extents()));
        assert!(read_all(os).await == before, "the bytes of the instant");
        fs::remove_file(&path).unwrap();
        assert!(read_all(os).await == before, "whatever becomes of the disk");
        assert_eq!(names(mount.path()), [hidden(1, "os.raw")]);
        let mode = fs::metadata(mount.path().join(hidden(1, "os.raw"))).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for _ in 0..2 {
            release(job(1), &[source("os", &path)], Some(&taken)).await.unwrap();
            assert!(names(mount.path()).is_empty());
        }
        assert_eq!(refusal(open(os).await).0, Missing);
    }
}

#[tokio::test]
async fn a_running_machine_is_cloned_without_leave() {
    let mount = Mount::xfs();
    let path = disk(mount.path(), "os.raw");
    let _machine = Qemu::writes(&path);
    let taken = snapshot(&[source("os", &path)]).await.unwrap();
    assert_eq!(read_all(&taken.disks[0]).await, fs::read(&path).unwrap());
}

#[tokio::test]
async fn a_clone_lies_beside_the_file_behind_a_link() {
    let mount = Mount::xfs();
    let elsewhere = tempfile::tempdir().unwrap();
    let (path, link) = (disk(mount.path(), "os.raw"), elsewhere.path().join("disk"));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let disks = [source("os", &link)];
    let taken = snapshot(&disks).await.unwrap();
    assert_eq!(names(mount.path()), [hidden(1, "os.raw"), "os.raw".to_owned()]);
    assert_eq!(read_all(&taken.disks[0]).await, fs::read(&path).unwrap());
    release(job(1), &disks, None).await.unwrap();
    assert_eq!(names(mount.path()), ["os.raw"]);
}

#[tokio::test]
async fn leftovers_of_this_job_alone_are_removed() {
    let mount = Mount::xfs();
    let path = disk(mount.path(), "os.raw");
    let disks = [source("os", &path)];
    let (mine, others) = (mount.path().join(hidden(1, "os.raw")), mount.path().join(hidden(2, "os.raw")));
    fs::write(&mine, "left by a try that was killed").unwrap();
    fs::write(&others, "of another job").unwrap();
    let taken = snapshot(&disks).await.unwrap();
    assert_eq!(read_all(&taken.disks[0]).await, fs::read(&path).unwrap());
    release(job(1), &disks, None).await.unwrap();
    assert!(!mine.exists() && others.exists());
    release(job(2), &disks, None).await.unwrap();
    release(job(2), &disks, None).await.unwrap();
    assert_eq!(names(mount.path()), ["os.raw"]);
}

#[tokio::test]
async fn release_removes_nothing_but_a_snapshot_of_its_job() {
    let mount = Mount::xfs();
    let path = disk(mount.path(), "os.raw");
    let mut taken = snapshot(&[source("os", &path)]).await.unwrap();
    assert_eq!(refusal(release(job(2), &[], Some(&taken)).await).0, Invalid, "another job's");
    let handle = &mut taken.disks[0].handle;
    *handle = handle.replace(&hidden(1, "os.raw"), "os.raw");
    assert_eq!(refusal(release(job(1), &[], Some(&taken)).await).0, Invalid, "the disk itself");
    assert_eq!(names(mount.path()), [hidden(1, "os.raw"), "os.raw".to_owned()]);
}

#[tokio::test]
async fn a_clone_that_was_altered_is_not_read() {
    let mount = Mount::xfs();
    let path = disk(mount.path(), "os.raw");
    let taken = snapshot(&[source("os", &path)]).await.unwrap();
    let clone = mount.path().join(hidden(1, "os.raw"));
    fs::set_permissions(&clone, fs::Permissions::from_mode(0o640)).unwrap();
    let reader = open(&taken.disks[0]).await.expect("a changed mode changes no byte");
    scribble(&clone);
    assert_eq!(refusal(reader.confirm().await).0, Conflict);
    assert_eq!(refusal(open(&taken.disks[0]).await).0, Conflict);
}

#[tokio::test]
async fn several_still_disks_show_one_instant() {
    for mount in [Mount::xfs(), Mount::btrfs()] {
        let (os, data) = (disk(mount.path(), "os.raw"), disk(mount.path(), "data.raw"));
        let taken = snapshot(&[source("os", &os), source("data", &data)]).await.unwrap();
        scribble(&os);
        assert_eq!(read_all(&taken.disks[0]).await, read_all(&taken.disks[1]).await, "both from before");
        assert_eq!(names(mount.path()).len(), 4);
    }
}

#[tokio::test]
async fn cloned_and_plain_disks_show_one_instant_together() {
    let (with, without) = (Mount::xfs(), Mount::ext4());
    let (os, data) = (disk(with.path(), "os.raw"), disk(without.path(), "data.raw"));
    let taken = snapshot(&[source("os", &os), source("data", &data)]).await.unwrap();
    assert_eq!(read_all(&taken.disks[0]).await, read_all(&taken.disks[1]).await);
    scribble(&data);
    assert!(open(&taken.disks[0]).await.is_ok());
    assert_eq!(refusal(open(&taken.disks[1]).await).0, Conflict);
}

#[test]
fn one_busy_disk_is_cloned_and_two_are_refused_with_nothing_left() {
    let mount = Mount::xfs();
    let (os, data) = (disk(mount.path(), "os.raw"), disk(mount.path(), "data.raw"));
    let one = [source("os", &os)];
    while_writing(&os, snapshot(&one)).expect("one clone is atomic");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(release(job(1), &one, None)).unwrap();
    let (kind, line) = refusal(while_writing(&os, snapshot(&[source("os", &os), source("data", &data)])));
    assert_eq!(kind, Conflict);
    assert!(line.contains("the disks of web-01 kept changing"), "{line}");
    assert_eq!(names(mount.path()), ["data.raw", "os.raw"]);
}

#[tokio::test]
async fn an_error_on_a_later_disk_leaves_no_clone_of_an_earlier() {
    let (with, without) = (Mount::xfs(), Mount::ext4());
    let (os, data) = (disk(with.path(), "os.raw"), disk(without.path(), "data.raw"));
    let _machine = Qemu::writes(&data);
    assert_eq!(refusal(snapshot(&[source("os", &os), source("data", &data)]).await).0, Conflict);
    assert_eq!(names(with.path()), ["os.raw"]);
}

#[tokio::test]
async fn a_btrfs_disk_without_copy_on_write_is_cloned_too() {
    let mount = Mount::btrfs();
    let path = mount.path().join("os.raw");
    let file = fs::File::create_new(&path).unwrap();
    ioctl_setflags(&file, ioctl_getflags(&file).unwrap() | IFlags::NOCOW).unwrap();
    file.set_len(SIZE).unwrap();
    file.write_all_at(&[7; 100_000], 0).unwrap();
    let taken = snapshot(&[source("os", &path)]).await.unwrap();
    assert!(taken.disks[0].handle.contains("reflink"), "{}", taken.disks[0].handle);
    assert_eq!(read_all(&taken.disks[0]).await, fs::read(&path).unwrap());
}

#[tokio::test]
async fn a_name_too_long_for_a_clone_is_read_in_place() {
    let mount = Mount::xfs();
    let path = disk(mount.path(), &"n".repeat(250));
    let request = SnapshotRequest { job: job(3), ..request(&[source("os", &path)]) };
    let taken = platform().snapshot(&request).await.unwrap();
    assert!(taken.disks[0].handle.contains("in-place"));
    release(job(3), &request.machine.disks, Some(&taken)).await.unwrap();
    assert!(path.exists());
}
