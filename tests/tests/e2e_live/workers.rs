use std::{thread, time::Duration};

use stillpoint_tests::{
    Host, Lab, Running,
    disk::{MIB, noise},
    live::{Disk, Format, Machine},
    servers::rabbitmq,
    text,
    vault_files::{is_pack, objects_of},
};

use super::estate::{MACHINE, add, assert_clean, assert_point_is, newest};

const GLANCE: Duration = Duration::from_millis(20);
const GLANCES_MAX: usize = 150 * 50;

fn until(what: &str, seen: impl Fn() -> bool) {
    assert!(
        (0..GLANCES_MAX).any(|_| seen() || {
            thread::sleep(GLANCE);
            false
        }),
        "still not so: {what}"
    );
}

fn worker(host: &Host, words: &[&str]) -> Running {
    host.bound_to_us().spawn(&[&["worker"], words].concat())
}

#[test]
fn one_process_takes_the_snapshot_others_read_it_and_one_of_them_is_killed() {
    let node = rabbitmq();
    let lab = Lab::new();
    let local = lab.host_with_vault();
    let host = local.set("STILLPOINT_BROKER", &node.url(&node.vhost()));
    let machine = Machine::idle(&[Disk::empty(&lab.path(""), "a", Format::Qcow2, 256 * MIB)]);
    std::fs::write(lab.path("bytes"), noise(7, 200 * MIB)).expect("a file can be written");
    machine.write("a", 10 * MIB, &lab.path("bytes"));
    add(&local, &machine.qmp());
    let snapshots = worker(&host, &["snapshot"]);
    let doomed = worker(&host, &["transfer"]);
    let begun = host.json(&["backup", MACHINE, "--detach"]);
    let job = text(&begun, "/jobs/0/job").to_owned();
    until("a pack is stored", || !objects_of(local.vault(), is_pack).is_empty());
    drop(doomed.kill());
    machine.independent_copy(&lab.path("copy"));
    // What the machine writes now is none of the snapshot's.
    machine.write("a", 20 * MIB, &lab.path("bytes"));
    let rest = worker(&host, &["transfer", "commit", "schedule", "--tick", "500ms", "--stalled-after", "2s"]);
    until("the job has ended", || text(&local.json(&["jobs", "show", &job]), "/state").starts_with("completed"));
    assert_point_is(&lab, &local, &machine, &newest(&local), &lab.path("copy"));
    until("the snapshot is given back", || machine.leftovers().but_bitmaps() == Default::default());
    assert_clean(&machine);
    assert_eq!((snapshots.terminate().code, rest.terminate().code), (Some(0), Some(0)));
}
