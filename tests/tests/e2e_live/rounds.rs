use std::{cell::RefCell, path::Path};

use stillpoint_tests::{
    Lab,
    disk::MIB,
    live::{Agent, Disk, Format, Guest},
};

use super::estate::{MACHINE, Stopped, add_guest, assert_clean, assert_point_is, backup, newest};

/// What a round does to the guest's disks: some files written, one removed, a trim, and bytes written past every file system.
fn disturb(guest: &Guest, round: u32) {
    let (size, place) = (64 + round * 37 % 900, round * 7919 % 7000);
    guest.run(&format!(
        "cd /mnt/files; dd if=/dev/urandom of=f{} bs=1k count={size} 2>/dev/null; rm -f f{}; sync;
         dd if=/dev/urandom of=/dev/disk/plain bs=4k seek={} count=9 conv=notrunc,fsync 2>/dev/null;
         dd if=/dev/urandom of=/dev/disk/raw bs=1k seek={place} count=3 conv=notrunc,fsync 2>/dev/null",
        round % 5,
        (round + 2) % 5,
        round * 131 % 2000,
    ));
    if round % 3 == 1 {
        guest.run("fstrim /mnt/files || true");
    }
}

#[test]
fn twenty_rounds_of_changes_restore_to_the_bytes_of_their_instants_whatever_is_killed() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let disks = [
        Disk::ext4(&lab.path(""), "files", Format::Qcow2, 48 * MIB),
        Disk::empty(&lab.path(""), "plain", Format::Qcow2, 16 * MIB),
        Disk::empty(&lab.path(""), "raw", Format::Raw, 8 * MIB),
    ];
    let guest = RefCell::new(Guest::start(Agent::Hooks, &disks));
    add_guest(&host, &guest.borrow(), &[]);
    let copies = |round: u32| lab.path(&format!("copy-{round}"));
    let mut points = Vec::new();
    for round in 0..20 {
        disturb(&guest.borrow(), round);
        // Dies at some moment of the backup: its job is taken on by the next, or stopped.
        if round % 3 == 2 {
            let guest = guest.borrow();
            let mut running = host.spawn(&["backup", MACHINE, "--json"]);
            let nodes = 3 + round as usize % 5;
            running.reaches(|| guest.machine.leftovers().nodes.len() >= nodes);
            drop(running.kill());
        }
        if round % 9 == 8 {
            let mut guest = guest.borrow_mut();
            guest.machine.kill();
            guest.boot();
        }
        let guest = guest.borrow();
        let point = {
            let _stopped = Stopped::new(&guest.machine);
            guest.machine.independent_copy(&copies(round));
            backup(&host, "crash");
            newest(&host)
        };
        assert_clean(&guest.machine);
        points.push((round, point));
    }
    let guest = guest.borrow();
    for (round, point) in &points {
        assert_point_is(&lab, &host, &guest.machine, point, Path::new(&copies(*round)));
    }
}
