use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use stillpoint_tests::{
    Host, Lab,
    disk::{assert_same, noise},
    live::{Disk, Guest, Leftovers, Machine},
};

pub const MACHINE: &str = "db-01";

/// A socket as an operator names it.
pub fn socket(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// Protects the machine, without an agent, whose monitor listens at `qmp`; or says that it does so there now.
pub fn add(host: &Host, qmp: &Path) {
    host.json(&["machine", "add", MACHINE, "--replace", "--platform", "qemu", "--qmp", &socket(qmp)]);
}

/// Protects a guest with an agent.
pub fn add_guest(host: &Host, guest: &Guest, more: &[&str]) {
    let (qmp, agent) = (socket(&guest.machine.qmp()), socket(&guest.agent()));
    let args = ["machine", "add", MACHINE, "--platform", "qemu", "--qmp", &qmp, "--agent", &agent];
    host.json(&[&args[..], more].concat());
}

/// Backs it up to the wanted consistency and returns the new point.
pub fn backup(host: &Host, consistency: &str) -> Value {
    let done = host.run(&["backup", MACHINE, "--consistency", consistency, "--json"]);
    assert!(matches!(done.code, Some(0 | 3)), "{done:?}");
    newest(host)
}

/// The newest point.
pub fn newest(host: &Host) -> Value {
    host.points(MACHINE).pop().expect("there is a point")
}

/// Restores the newest point, or another, to a new folder, as `<disk>.raw`.
pub fn restored(lab: &Lab, host: &Host, point: &str) -> PathBuf {
    let folder = lab.path(&format!("restored-{point}"));
    host.json(&["restore", MACHINE, "--point", point, "--to", folder.to_str().expect("a path is text")]);
    folder
}

/// Compares a point of a machine with the raw copies in a folder.
pub fn assert_point_is(lab: &Lab, host: &Host, machine: &Machine, point: &Value, copies: &Path) {
    let folder = restored(lab, host, point["id"].as_str().expect("a point has an id"));
    for disk in machine.disks() {
        assert_same(&copies.join(format!("{}.raw", disk.name)), &folder.join(format!("{}.raw", disk.device())));
    }
    fs::remove_dir_all(folder).expect("a folder can be removed");
}

/// That a backup has left nothing in QEMU but the bitmaps of the newest point, and no file beside the disks.
pub fn assert_clean(machine: &Machine) {
    assert_eq!(machine.leftovers().but_bitmaps(), Leftovers::default());
    for disk in machine.disks() {
        let folder = disk.path.parent().expect("a disk lies in a folder");
        let hidden: Vec<String> =
            stillpoint_tests::disk::names(folder).into_iter().filter(|name| name.starts_with('.')).collect();
        assert_eq!(hidden, Vec::<String>::new());
    }
    let beside = machine.qmp();
    let sockets = stillpoint_tests::disk::names(beside.parent().expect("a socket lies in a folder"));
    assert!(sockets.iter().all(|name| !name.starts_with(".sp-")), "{sockets:?}");
}

/// Bitmaps of ours on a machine's disks.
pub fn bitmaps(machine: &Machine) -> Vec<String> {
    let names = |disk: &Disk| machine.bitmaps(&disk.name).into_iter().map(|bitmap| bitmap.name);
    machine.disks().iter().flat_map(names).filter(|name| name.starts_with("stillpoint-")).collect()
}

/// Stops the guest's processors and lets them go on again when dropped.
pub struct Stopped<'a>(&'a Machine);

impl<'a> Stopped<'a> {
    pub fn new(machine: &'a Machine) -> Self {
        machine.monitor().execute("stop", json!({}));
        Self(machine)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.monitor().execute("cont", json!({}));
    }
}

/// An idle machine, and the host that backs it up.
pub struct Site {
    pub lab: Lab,
    pub host: Host,
    pub machine: Machine,
    copies: u32,
}

impl Site {
    pub fn new(disks: impl FnOnce(&Lab) -> Vec<Disk>) -> Self {
        let lab = Lab::new();
        let host = lab.host_with_vault();
        let machine = Machine::idle(&disks(&lab));
        add(&host, &machine.qmp());
        Self { lab, host, machine, copies: 0 }
    }

    pub fn write(&self, disk: &str, offset: u64, length: u64, seed: u64) {
        let file = self.lab.path("bytes");
        fs::write(&file, noise(seed, length)).expect("a file can be written");
        self.machine.write(disk, offset, &file);
    }

    /// Backs up, and shows that the point is what the disks are.
    pub fn point(&mut self) -> Value {
        self.copies += 1;
        let folder = self.lab.path(&format!("copies-{}", self.copies));
        self.machine.independent_copy(&folder);
        let point = backup(&self.host, "crash");
        assert_point_is(&self.lab, &self.host, &self.machine, &point, &folder);
        point
    }
}

/// Disks of a point that could not be read by their changes, and why.
pub fn resets(point: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let all = point["tracking_resets"].as_array().expect("a list");
    all.iter().map(|reset| (text(&reset["disk"]), text(&reset["reason"]))).collect()
}

/// Bytes that a point's backup has read.
pub fn read(point: &Value) -> u64 {
    point["read_bytes"].as_u64().expect("a number")
}
