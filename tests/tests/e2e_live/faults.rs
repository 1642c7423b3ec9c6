use stillpoint_tests::{
    disk::{MIB, noise},
    live::{At, Disk, Fault, Format, Relay},
};

use super::estate::{MACHINE, Site, add, assert_clean, backup, newest, resets};

const BACKUP: [&str; 4] = ["backup", MACHINE, "--consistency", "crash"];
/// Commands that a backup of two disks has at least.
const COMMANDS_MIN: usize = 40;
/// A disk has so many chunks: each round writes its own, so that one that was missed shows at the end.
const CHUNKS: u64 = 256;

/// A machine with a point, whose monitor is reached through a relay.
fn site() -> (Site, Relay) {
    let disks = |lab: &stillpoint_tests::Lab| {
        let folder = lab.path("");
        vec![Disk::empty(&folder, "a", Format::Qcow2, CHUNKS * 65536), Disk::empty(&folder, "b", Format::Raw, CHUNKS * 65536)]
    };
    let mut site = Site::new(disks);
    let relay = Relay::start(site.machine.qmp().with_file_name("relay"), site.machine.qmp());
    add(&site.host, relay.socket());
    site.write("a", 0, 4 * MIB, 1);
    site.point();
    (site, relay)
}

/// Sets each number in turn, lets `trouble` do with a backup what it will, and shows that the machine is as it was and the next
/// backup works. `trouble` returns whether the backup came that far.
fn every(from: usize, step: usize, trouble: impl Fn(&Site, &Relay, usize) -> bool) {
    let (mut site, relay) = site();
    let status = site.machine.status();
    for number in (from..).step_by(step) {
        for disk in ["a", "b"] {
            site.write(disk, number as u64 % CHUNKS * 65536, 65536, number as u64);
        }
        let reached = trouble(&site, &relay, number);
        assert_eq!(site.machine.status(), status, "at command {number}");
        relay.go_on();
        let point = backup(&site.host, "crash");
        assert_eq!(resets(&point), vec![], "at command {number}");
        assert_clean(&site.machine);
        if !reached {
            assert!(number > COMMANDS_MIN, "{number}: {:?}", relay.commands());
            break;
        }
    }
    site.point();
}

#[test]
fn whichever_command_the_monitor_refuses_the_machine_is_left_as_it_was() {
    every(1, 1, |site, relay, number| {
        relay.set(At::Number(number), Fault::refusal("GenericError", "not in the mood"));
        let done = site.host.run(&BACKUP);
        let commands = relay.commands();
        if !matches!(done.code, Some(0 | 3)) {
            let line = done.error();
            assert!(line.contains("not in the mood"), "at command {number}: {line}");
        }
        // What is taken away may itself be refused; then the next one takes it away.
        let teardown = commands.get(number - 1).is_some_and(|name| name.ends_with("-del") || name.ends_with("-stop"));
        if !teardown && commands.len() > number + 3 {
            assert_clean(&site.machine);
        }
        commands.len() >= number
    });
}

#[test]
fn whichever_answer_is_lost_with_the_connection_the_machine_is_left_as_it_was() {
    every(1, 3, |site, relay, number| {
        relay.set(At::Number(number), Fault::Close);
        let done = site.host.run(&BACKUP);
        if !matches!(done.code, Some(0 | 3)) {
            let line = done.error();
            assert!(line.contains("closed the connection") || line.contains("broke"), "at command {number}: {line}");
        }
        relay.commands().len() >= number
    });
}

#[test]
fn whenever_the_program_is_killed_the_machine_goes_on_and_the_next_backup_cleans_up() {
    every(2, 2, |site, relay, number| {
        relay.set(At::Number(number), Fault::Hold);
        let mut running = site.host.spawn(&BACKUP);
        let reached = running.reaches(|| relay.is_holding());
        // The command was sent: QEMU runs it all the same.
        drop(running.kill());
        reached
    });
}

#[test]
fn a_monitor_that_falls_silent_fails_the_backup_and_is_cleaned_up() {
    let (mut site, relay) = site();
    site.write("a", 0, MIB, 2);
    relay.set(At::Name("blockdev-reopen"), Fault::Silence);
    let line = site.host.fails(&BACKUP);
    assert!(line.contains("does not answer"), "{line}");
    assert_clean(&site.machine);
    relay.go_on();
    assert_eq!(resets(&site.point()), vec![]);
}

#[test]
fn a_slow_monitor_is_waited_for() {
    let (site, relay) = site();
    std::fs::write(site.lab.path("bytes"), noise(3, 65536)).expect("a file can be written");
    relay.set(At::Name("blockdev-reopen"), Fault::Hold);
    let mut running = site.host.spawn(&BACKUP);
    assert!(running.reaches(|| relay.is_holding()));
    // Before the cut, so it is in the point.
    site.machine.write("a", 9 * 65536, &site.lab.path("bytes"));
    let copies = site.lab.path("copies");
    site.machine.independent_copy(&copies);
    relay.go_on();
    let _done = running.finish().ok();
    super::estate::assert_point_is(&site.lab, &site.host, &site.machine, &newest(&site.host), &copies);
    assert_clean(&site.machine);
}
