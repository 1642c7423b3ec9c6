use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, net::UnixListener},
};

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use stillpoint_model::ErrorKind::{Denied, Invalid, Missing};

use super::{
    SIZE, disk, inspect,
    parts::{Mount, run},
    refusal, source,
};
use crate::disk::open_all;

#[tokio::test]
async fn sizes_come_in_order_and_links_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (os, data, link) = (disk(folder.path(), "os.raw"), folder.path().join("data.raw"), folder.path().join("link"));
    fs::write(&data, vec![0; 512]).unwrap();
    std::os::unix::fs::symlink(&os, &link).unwrap();
    let sizes = inspect(&[source("data", &data), source("os", &link)]).await.unwrap();
    assert_eq!(sizes, [512, SIZE]);
}

#[tokio::test]
async fn what_is_no_raw_disk_is_refused_with_reason_and_cure() {
    let mount = Mount::tmpfs("1m");
    let path = |name: &str| mount.path().join(name);
    fs::create_dir(path("folder")).unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("odd"), vec![0; 513]).unwrap();
    fs::File::create(path("huge")).unwrap().set_len((64 << 40) + 512).unwrap();
    run("mkfifo", &[path("pipe").to_str().unwrap()]);
    let _socket = UnixListener::bind(path("socket")).unwrap();
    run("qemu-img", &["create", "-q", "-f", "qcow2", path("container").to_str().unwrap(), "1M"]);
    let cases = [
        (path("none"), Missing, "does not exist"),
        (path("odd/below-a-file"), Missing, "does not exist"),
        (path("line\nbreak"), Missing, "line\\nbreak"),
        (path("folder"), Invalid, "is a folder"),
        (path("empty"), Invalid, "has 0 bytes"),
        (path("odd"), Invalid, "513 bytes, not a multiple of 512"),
        (path("huge"), Invalid, "more than the 70368744177664 a vault takes"),
        (path("pipe"), Invalid, "is a pipe"),
        (path("socket"), Invalid, "is a socket"),
        (path("container"), Invalid, "qcow2 image"),
        ("/dev/null".into(), Invalid, "is a character device"),
        ("os.raw".into(), Invalid, "not an absolute path"),
        ("".into(), Invalid, "not an absolute path"),
    ];
    for (path, kind, reason) in cases {
        let (found, line) = refusal(inspect(&[source("os", &path)]).await);
        assert_eq!(found, kind, "{line}");
        assert!(line.contains("disk os (") && line.contains(reason) && line.contains("; "), "{line}");
    }
}

#[tokio::test]
async fn one_disk_under_two_names_is_refused_whatever_the_paths() {
    let folder = tempfile::tempdir().unwrap();
    let os = disk(folder.path(), "os.raw");
    let (soft, hard) = (folder.path().join("soft"), folder.path().join("hard"));
    std::os::unix::fs::symlink(&os, &soft).unwrap();
    fs::hard_link(&os, &hard).unwrap();
    for other in [&os, &soft, &hard] {
        let (kind, line) = refusal(inspect(&[source("os", &os), source("data", other)]).await);
        assert_eq!(kind, Invalid);
        assert!(line.contains("disk data (") && line.contains("the same as disk os"), "{line}");
    }
}

#[test]
fn a_disk_this_user_may_not_read_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    let os = disk(folder.path(), "os.raw");
    fs::set_permissions(&os, Permissions::from_mode(0o000)).unwrap();
    let (kind, line) = refusal(without_override(move || open_all(&[source("os", &os)])));
    assert_eq!(kind, Denied);
    assert!(line.contains("may not be read by this user"), "{line}");
}

/// Runs `work` on a thread that, even as root, is held to the permissions of files.
fn without_override<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let bound = move || {
        let mut sets = capabilities(None).unwrap();
        sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        set_capabilities(None, sets).unwrap();
        work()
    };
    std::thread::spawn(bound).join().unwrap()
}
