//! The live machines that other tests back up are what they say they are.

use std::{fs, path::Path, time::Duration};

use serde_json::json;
use stillpoint_tests::{
    Lab, PATIENCE,
    disk::{MIB, assert_same, noise, overwrite, range, sparse},
    live::{Agent, AgentClient, Disk, Format, Guest, Leftovers, Machine, StorageDaemon, pair_number},
};

fn agent(guest: &Guest) -> AgentClient {
    AgentClient::connect(&guest.agent(), PATIENCE).expect("the guest agent answers")
}

#[test]
fn a_guest_mounts_its_disks_and_runs_commands() {
    let lab = Lab::new();
    let disks =
        [Disk::ext4(&lab.path(""), "files", Format::Qcow2, 64 * MIB), Disk::empty(&lab.path(""), "plain", Format::Raw, 8 * MIB)];
    let guest = Guest::start(Agent::Hooks, &disks);
    assert_eq!(guest.machine.status(), "running");
    assert_eq!(guest.run("echo kept >/mnt/files/note; sync; cat /mnt/files/note"), "kept\n");
    guest.run("echo raw | dd of=/dev/disk/plain conv=fsync 2>/dev/null");
    assert_eq!(range(&disks[1].path, 0, 4), b"raw\n");
    assert_eq!(guest.try_run("exit 7").code, 7);
    assert_eq!(guest.machine.leftovers(), Leftovers::default());
}

#[test]
fn a_guest_boots_again_after_a_kill_and_a_reset_on_the_same_disks() {
    let lab = Lab::new();
    let mut guest = Guest::start(Agent::Hooks, &[Disk::ext4(&lab.path(""), "files", Format::Qcow2, 64 * MIB)]);
    for round in 0..3 {
        guest.run(&format!("echo {round} >/mnt/files/{round}; sync"));
        guest.machine.kill();
        guest.boot();
        assert_eq!(guest.run(&format!("cat /mnt/files/{round}")), format!("{round}\n"));
    }
    guest.machine.power_off();
    guest.boot();
    guest.reset();
    assert_eq!(guest.run("cd /mnt/files; cat 0 1 2"), "0\n1\n2\n");
    assert_eq!(agent(&guest).execute("guest-fsfreeze-status", json!({})), Ok(json!("thawed")), "the agent is back too");
}

#[test]
fn a_bitmap_outlives_a_power_cycle_and_not_a_kill() {
    let lab = Lab::new();
    let mut machine = Machine::idle(&[Disk::empty(&lab.path(""), "a", Format::Qcow2, 64 * MIB)]);
    machine.monitor().execute("block-dirty-bitmap-add", json!({"node": "a", "name": "point", "persistent": true}));
    fs::write(lab.path("bytes"), noise(1, 4096)).expect("a file can be written");
    machine.write("a", MIB, &lab.path("bytes"));
    machine.power_off();
    let on = |machine: &mut Machine| {
        machine.power_on();
        assert_eq!(machine.leftovers().bitmaps.into_iter().collect::<Vec<_>>(), ["a/point"]);
        machine.bitmaps("a").remove(0)
    };
    let kept = on(&mut machine);
    assert_eq!((kept.inconsistent, kept.persistent, kept.dirty_bytes), (false, true, 65536));
    machine.kill();
    assert!(on(&mut machine).inconsistent);
}

#[test]
fn traces_of_a_backup_are_seen() {
    let lab = Lab::new();
    let machine = Machine::idle(&[Disk::empty(&lab.path(""), "a", Format::Qcow2, 64 * MIB)]);
    let scratch = Disk::empty(&lab.path(""), "scratch", Format::Qcow2, 64 * MIB);
    let tell = |command: &str, arguments| machine.monitor().execute(command, arguments);
    let file = json!({"driver": "file", "node-name": "scratch-file", "filename": scratch.path});
    tell("blockdev-add", json!({"driver": "qcow2", "node-name": "scratch", "file": file}));
    tell("blockdev-add", json!({"driver": "copy-before-write", "node-name": "filter", "file": "a", "target": "scratch"}));
    let device = "/machine/peripheral/disk-a/virtio-backend";
    tell("qom-set", json!({"path": device, "property": "drive", "value": "filter"}));
    tell("blockdev-add", json!({"driver": "snapshot-access", "node-name": "snapshot", "file": "filter"}));
    let socket = lab.path("nbd");
    tell("nbd-server-start", json!({"addr": {"type": "unix", "data": {"path": socket}}}));
    tell("block-export-add", json!({"type": "nbd", "id": "export", "node-name": "snapshot", "name": "a"}));
    tell("block-dirty-bitmap-add", json!({"node": "a", "name": "point"}));

    let left = machine.leftovers();
    assert_eq!(left.nodes.iter().collect::<Vec<_>>(), ["filter", "scratch", "scratch-file", "snapshot"]);
    assert_eq!(left.exports.iter().collect::<Vec<_>>(), ["export"]);
    assert_eq!(left.attached.into_iter().collect::<Vec<_>>(), [(device.to_owned(), "filter".to_owned())]);
    assert!(left.nbd_server);

    tell("block-export-del", json!({"id": "export"}));
    machine.monitor().event("BLOCK_EXPORT_DELETED");
    tell("nbd-server-stop", json!({}));
    tell("blockdev-del", json!({"node-name": "snapshot"}));
    tell("qom-set", json!({"path": device, "property": "drive", "value": "a"}));
    tell("blockdev-del", json!({"node-name": "filter"}));
    tell("blockdev-del", json!({"node-name": "scratch"}));
    assert_ne!(machine.leftovers(), Leftovers::default(), "the bitmap is left");
    assert_eq!(machine.leftovers().but_bitmaps(), Leftovers::default());
}

#[test]
fn two_disks_are_written_in_lockstep() {
    let lab = Lab::new();
    let folder = lab.path("");
    let guest = Guest::start(
        Agent::None,
        &[Disk::empty(&folder, "c", Format::Qcow2, 8 * MIB), Disk::empty(&folder, "d", Format::Raw, 8 * MIB)],
    );
    guest.write_pairs("c", "d");
    let mut last = 0;
    for round in 0..4 {
        guest.wait_past(last, Guest::pairs_written);
        let copies = lab.path(&round.to_string());
        guest.machine.independent_copy(&copies);
        let [first, second] = ["c.raw", "d.raw"].map(|name| pair_number(&copies.join(name)));
        assert!(first == second || first == second + 1, "one instant: {first} and {second}");
        assert!(second > last, "the writer goes on: {second} after {last}");
        last = second;
    }
    assert_eq!(guest.machine.status(), "running");
    guest.stop_writers();
    let total = guest.pairs_written();
    let copies = lab.path("end");
    guest.machine.independent_copy(&copies);
    let second = pair_number(&copies.join("d.raw"));
    assert!((total..=total + 1).contains(&second), "all that was counted, and at most one more: {second} after {total}");
}

#[test]
fn a_frozen_database_is_copied_whole_and_opens_without_recovery() {
    let lab = Lab::new();
    let guest = Guest::start(Agent::Hooks, &[Disk::ext4(&lab.path(""), "db", Format::Qcow2, 64 * MIB)]);
    guest.write_rows("db");
    guest.wait_past(5, Guest::rows_acknowledged);
    let mut agent = agent(&guest);
    assert_eq!(agent.execute("guest-fsfreeze-freeze", json!({})), Ok(json!(1)), "one file system is frozen");
    assert!(guest.is_frozen());
    guest.machine.independent_copy(&lab.path("copy"));
    let acknowledged = guest.rows_acknowledged_at_freeze();
    assert_eq!(agent.execute("guest-fsfreeze-thaw", json!({})), Ok(json!(1)));
    assert!(!guest.is_frozen());
    guest.wait_past(acknowledged + 1, Guest::rows_acknowledged);
    guest.stop_writers();

    let copy = Disk::over("db", &lab.path("copy").join("db.raw"), Format::Raw);
    let restored = Guest::start(Agent::None, &[copy]);
    assert!(!restored.run("dmesg").contains("recovery complete"), "the file system was clean");
    assert_eq!(restored.run("cat /mnt/db/application-state"), "quiesced\n");
    let found = restored.database("db");
    assert!(!found.had_journal && found.integrity == "ok" && found.rows == found.last, "{found:?}");
    assert!((acknowledged..=acknowledged + 1).contains(&found.rows), "{found:?}, {acknowledged} rows were acknowledged");
}

#[test]
fn a_hook_can_fail_and_agents_without_hooks_run_none() {
    let lab = Lab::new();
    let disk = |name| Disk::ext4(&lab.path(""), name, Format::Qcow2, 64 * MIB);
    let guest = Guest::start(Agent::Hooks, &[disk("hooks")]);
    guest.run("touch /run/hook-must-fail");
    let refused = agent(&guest).execute("guest-fsfreeze-freeze", json!({})).expect_err("the hook fails");
    assert!(refused.contains("hook"), "{refused}");
    assert!(!guest.is_frozen());

    let plain = Guest::start(Agent::Plain, &[disk("plain")]);
    let mut client = agent(&plain);
    assert_eq!(client.execute("guest-fsfreeze-freeze", json!({})), Ok(json!(1)));
    assert!(plain.is_frozen());
    assert_eq!(client.execute("guest-fsfreeze-thaw", json!({})), Ok(json!(1)));
    assert_eq!(plain.try_run("cat /mnt/plain/application-state").code, 1, "no hook ran");

    let none = Guest::start(Agent::None, &[disk("none")]);
    assert!(AgentClient::connect(&none.agent(), Duration::from_secs(1)).is_none());
}

#[test]
fn a_storage_daemon_stands_for_disks_without_a_machine() {
    let lab = Lab::new();
    let mut daemon = StorageDaemon::start(&[Disk::empty(&lab.path(""), "a", Format::Qcow2, 8 * MIB)]);
    daemon.monitor().execute("block-dirty-bitmap-add", json!({"node": "a", "name": "point", "persistent": true}));
    fs::write(lab.path("bytes"), noise(2, MIB)).expect("a file can be written");
    daemon.write("a", 3 * MIB, &lab.path("bytes"));
    daemon.quit();
    daemon.turn_on();
    daemon.discard("a", 3 * MIB, MIB / 2);
    assert_eq!(daemon.bitmaps("a")[0].dirty_bytes, MIB);
    daemon.copy("a", &lab.path("read"));
    sparse(&lab.path("expected"), 8 * MIB, 0, &[]);
    overwrite(&lab.path("expected"), 3 * MIB + MIB / 2, &noise(2, MIB)[MIB as usize / 2..]);
    assert_same(&lab.path("expected"), &lab.path("read"));
    daemon.kill();
    daemon.turn_on();
    assert!(daemon.bitmaps("a")[0].inconsistent);
    assert_eq!(daemon.leftovers().but_bitmaps(), Leftovers::default());
    daemon.quit();
    Disk::over("a", &lab.path("a.qcow2"), Format::Qcow2).copy_to(&lab.path("copied"));
    assert_same(&lab.path("expected"), &lab.path("copied"));
}

#[test]
fn no_process_outlives_its_value() {
    let lab = Lab::new();
    let machine = Machine::idle(&[Disk::empty(&lab.path(""), "a", Format::Raw, MIB)]);
    let process = format!("/proc/{}", machine.pid());
    assert!(Path::new(&process).exists());
    drop(machine);
    assert!(!Path::new(&process).exists());
}
