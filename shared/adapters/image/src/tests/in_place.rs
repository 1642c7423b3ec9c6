use std::{
    fs::{self, File, FileTimes},
    path::Path,
};

use stillpoint_model::{
    Consistency,
    ErrorKind::{Conflict, Invalid, Missing},
};
use stillpoint_ports::{Baseline, Platform, SnapshotRequest};

use super::{
    SIZE, data_extents, disk, job, names, open, parts::Mount, platform, read_all, refusal, release, request, scribble, snapshot,
    source, while_writing,
};

#[tokio::test]
async fn a_still_disk_is_read_in_place_without_its_holes() {
    let mount = Mount::ext4();
    let path = disk(mount.path(), "os.raw");
    let before = jiff::Timestamp::now();
    let taken = snapshot(&[source("os", &path)]).await.unwrap();
    assert_eq!((taken.obtained, taken.warnings.len()), (Consistency::Crash, 0));
    assert!(before <= taken.instant && taken.instant <= jiff::Timestamp::now());
    let os = &taken.disks[0];
    assert_eq!((os.name.as_str(), os.size_bytes, os.baseline), ("os", SIZE, Baseline::Zero));
    assert_eq!(os.extents, data_extents());
    assert_eq!(read_all(os).await, fs::read(&path).unwrap());
    assert_eq!(names(mount.path()), ["os.raw"], "nothing is made");
    release(job(1), &[source("os", &path)], Some(&taken)).await.unwrap();
    assert_eq!(names(mount.path()), ["os.raw"], "and nothing of the machine's is removed");
}

#[tokio::test]
async fn a_better_consistency_than_crash_is_not_claimed() {
    let mount = Mount::ext4();
    let disks = [source("os", &disk(mount.path(), "os.raw"))];
    let wanted = SnapshotRequest { wanted: Consistency::Application, ..request(&disks) };
    let taken = platform().snapshot(&wanted).await.unwrap();
    assert_eq!(taken.obtained, Consistency::Crash);
    assert_eq!(taken.warnings, ["platform image gives crash consistency; wanted application"]);
}

#[tokio::test]
async fn a_write_right_after_the_snapshot_is_noticed() {
    let mount = Mount::ext4();
    let path = disk(mount.path(), "os.raw");
    // Often, because a write within the same tick of the kernel's clock is what would be missed.
    for _ in 0..20 {
        scribble(&path);
        let taken = snapshot(&[source("os", &path)]).await.unwrap();
        scribble(&path);
        let (kind, line) = refusal(open(&taken.disks[0]).await);
        assert_eq!(kind, Conflict);
        assert!(line.contains("changed while it was being backed up"), "{line}");
    }
}

type Change = fn(&Path);

#[tokio::test]
async fn every_change_while_reading_is_noticed() {
    let changes: [(&str, Change); 8] = [
        ("written", |path| scribble(path)),
        ("written, times set back", |path| {
            let modified = fs::metadata(path).unwrap().modified().unwrap();
            scribble(path);
            File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(modified)).unwrap();
        }),
        ("grown", |path| File::options().write(true).open(path).unwrap().set_len(SIZE + 512).unwrap()),
        ("shrunk and grown", |path| {
            File::options().write(true).open(path).unwrap().set_len(512).unwrap();
            File::options().write(true).open(path).unwrap().set_len(SIZE).unwrap();
        }),
        ("replaced by an equal copy", |path| {
            fs::copy(path, path.with_extension("copy")).unwrap();
            fs::rename(path.with_extension("copy"), path).unwrap();
        }),
        ("moved away", |path| fs::rename(path, path.with_extension("away")).unwrap()),
        ("its folder replaced by an equal copy", |path| {
            let (folder, away) = (path.parent().unwrap(), path.parent().unwrap().with_extension("away"));
            fs::rename(folder, &away).unwrap();
            fs::create_dir(folder).unwrap();
            fs::copy(away.join("os.raw"), path).unwrap();
        }),
        ("replaced by a folder", |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    let mount = Mount::ext4();
    for (number, (what, change)) in changes.into_iter().enumerate() {
        let folder = mount.path().join(number.to_string());
        fs::create_dir(&folder).unwrap();
        let path = disk(&folder, "os.raw");
        let taken = snapshot(&[source("os", &path)]).await.unwrap();
        let reader = open(&taken.disks[0]).await.unwrap();
        reader.confirm().await.unwrap();
        change(&path);
        assert_eq!(refusal(reader.confirm().await).0, Conflict, "{what}");
        let expected = if what == "moved away" { Missing } else { Conflict };
        assert_eq!(refusal(open(&taken.disks[0]).await).0, expected, "{what}");
    }
}

#[tokio::test]
async fn a_disk_cut_short_ends_the_read() {
    let mount = Mount::ext4();
    let path = disk(mount.path(), "os.raw");
    let taken = snapshot(&[source("os", &path)]).await.unwrap();
    let reader = open(&taken.disks[0]).await.unwrap();
    File::options().write(true).open(&path).unwrap().set_len(SIZE - 512).unwrap();
    assert_eq!(refusal(reader.read(SIZE - 1024, vec![0; 1024]).await).0, Conflict);
}

#[test]
fn a_disk_that_never_stands_still_is_refused() {
    let mount = Mount::ext4();
    let path = disk(mount.path(), "os.raw");
    let (kind, line) = refusal(while_writing(&path, snapshot(&[source("os", &path)])));
    assert_eq!(kind, Conflict);
    assert!(line.contains("the disks of web-01 kept changing while the snapshot was taken; stop the machine"), "{line}");
}

#[tokio::test]
async fn a_handle_of_another_making_is_refused() {
    let mount = Mount::ext4();
    let path = disk(mount.path(), "os.raw");
    let mut taken = snapshot(&[source("os", &path)]).await.unwrap();
    taken.disks[0].size_bytes -= 512;
    assert_eq!(refusal(open(&taken.disks[0]).await).0, Invalid, "plan and handle disagree");
    taken.disks[0].handle = "{}".to_owned();
    assert_eq!(refusal(open(&taken.disks[0]).await).0, Invalid);
    let forged = taken.disks[0].handle.clone();
    assert_eq!(refusal(release(job(1), &[], Some(&taken)).await).0, Invalid, "{forged}");
}

#[tokio::test]
async fn a_read_only_file_system_is_read_in_place_and_released() {
    let mount = Mount::xfs();
    let path = disk(mount.path(), "os.raw");
    mount.read_only();
    let taken = snapshot(&[source("os", &path)]).await.unwrap();
    assert!(taken.disks[0].handle.contains("in-place"), "{}", taken.disks[0].handle);
    assert_eq!(read_all(&taken.disks[0]).await, fs::read(&path).unwrap());
    release(job(1), &[source("os", &path)], Some(&taken)).await.unwrap();
}
