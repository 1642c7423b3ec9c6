use std::sync::Arc;

use stillpoint_model::{Consistency, ErrorKind, JobId};
use stillpoint_ports::{Ending, Holding, MachineSource, Platform, SnapshotRequest};
use stillpoint_qemu::QemuPlatform;
use stillpoint_testkit::TestClock;
use stillpoint_tests::{
    Lab,
    disk::MIB,
    live::{Disk, Format, Machine},
};

use super::estate::{assert_clean, bitmaps, socket};

fn request(machine: &Machine, job: JobId) -> SnapshotRequest {
    let settings = [("qmp".to_owned(), socket(&machine.qmp()))].into();
    let machine = MachineSource { settings, ..MachineSource::default() };
    SnapshotRequest { job, item: "db-01".parse().expect("a name"), machine, wanted: Consistency::Crash, since: None }
}

#[tokio::test]
async fn a_snapshot_that_its_job_takes_anew_is_another_and_one_of_another_job_is_seen() {
    let lab = Lab::new();
    let machine = Machine::idle(&[Disk::empty(&lab.path(""), "a", Format::Qcow2, 8 * MIB)]);
    let platform = QemuPlatform::new(Arc::new(TestClock::new()));
    let job: JobId = "01M82F1K1G1QZHN76V01SPE78D".parse().expect("an id");
    let wanted = request(&machine, job);
    let first = platform.snapshot(&wanted).await.expect("a snapshot");
    let second = platform.snapshot(&wanted).await.expect("a snapshot");
    // What the first one's plan says of changes is not true of the second.
    let gone = platform.open(&first.disks[0]).await.err().expect("the first one is gone");
    assert_eq!(gone.kind(), ErrorKind::Missing, "{gone:?}");
    let reader = platform.open(&second.disks[0]).await.expect("the second one is there");
    assert_eq!(reader.read(0, vec![1; 512]).await.expect("it can be read"), [0; 512]);
    assert_eq!(platform.holders(&wanted.machine).await.expect("QEMU answers"), [job]);
    platform.release(job, Holding::Machine(&wanted.machine), Ending::Abandoned).await.expect("it can be given back");
    platform.release(job, Holding::Snapshot(&second), Ending::Abandoned).await.expect("twice does no harm");
    assert_eq!((platform.holders(&wanted.machine).await.expect("QEMU answers"), bitmaps(&machine)), (vec![], vec![]));
    assert_clean(&machine);
}
