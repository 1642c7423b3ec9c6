use stillpoint_model::ErrorKind::Conflict;
use stillpoint_ports::Target;

use super::{
    disk, job,
    parts::{LoopDevice, Mount, Qemu},
    read_all, refusal, snapshot, source, target,
};
use crate::{ImageTarget, lock};

#[tokio::test]
async fn an_image_that_a_machine_may_write_is_refused_until_it_stops() {
    let mount = Mount::ext4();
    let path = disk(mount.path(), "os.raw");
    let machine = Qemu::writes(&path);
    let (kind, line) = refusal(snapshot(&[source("os", &path)]).await);
    assert_eq!(kind, Conflict);
    assert!(
        line.contains("disk os (") && line.contains("in use by a running machine") && line.contains("stop the machine"),
        "{line}"
    );
    drop(machine);
    let taken = snapshot(&[source("os", &path)]).await.unwrap();
    read_all(&taken.disks[0]).await;
}

#[tokio::test]
async fn an_image_that_is_only_read_is_no_trouble() {
    let mount = Mount::ext4();
    let path = disk(mount.path(), "os.raw");
    let _reader = Qemu::reads(&path);
    let taken = snapshot(&[source("os", &path)]).await.unwrap();
    read_all(&taken.disks[0]).await;
}

#[tokio::test]
async fn a_device_that_a_machine_may_write_is_refused() {
    let device = LoopDevice::new(1 << 20);
    let machine = Qemu::writes(&device.path);
    assert_eq!(refusal(snapshot(&[source("os", &device.path)]).await).0, Conflict);
    drop(machine);
    snapshot(&[source("os", &device.path)]).await.unwrap();
}

#[tokio::test]
async fn a_machines_image_is_not_replaced_under_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = disk(folder.path(), "os.raw");
    let mut wanted = target("os", &path);
    wanted.overwrite = true;
    for machine in [Qemu::writes(&path), Qemu::reads(&path)] {
        let (kind, line) = refusal(ImageTarget::new().prepare(job(1), std::slice::from_ref(&wanted)).await);
        assert_eq!(kind, Conflict);
        assert!(line.contains("in use by a machine"), "{line}");
        drop(machine);
    }
    ImageTarget::new().prepare(job(1), std::slice::from_ref(&wanted)).await.unwrap();
    // Started while the restore ran.
    let _machine = Qemu::writes(&path);
    assert_eq!(refusal(ImageTarget::new().publish(job(1), &[wanted]).await).0, Conflict);
}

#[test]
fn asking_takes_no_lock_and_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = disk(folder.path(), "os.raw");
    let file = std::fs::File::open(&path).unwrap();
    assert!(!lock::may_change(&file).unwrap() && !lock::in_use(&file).unwrap());
    // QEMU itself would refuse to open the image for writing if anything were held.
    let _machine = Qemu::writes(&path);
    assert!(lock::may_change(&file).unwrap() && lock::in_use(&file).unwrap());
}
