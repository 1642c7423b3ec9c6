use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::MutexGuard,
    thread,
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;

use super::{
    disk::Disk,
    graph::{self, Bitmap, Leftovers},
    program::{self, Program},
    qmp::Monitor,
};

/// Disks that a machine can have at most: slots that a device can be plugged into.
const SLOTS: usize = 6;

/// A virtual machine: a QEMU process when it is on, and its disks, which stay.
pub struct Machine {
    folder: TempDir,
    disks: Vec<Disk>,
    program: Option<Program>,
    before: Option<Leftovers>,
}

impl Machine {
    /// A machine of these disks that is on and never starts its processor.
    #[must_use]
    pub fn idle(disks: &[Disk]) -> Self {
        let mut machine = Self::off(disks);
        machine.power_on();
        machine
    }

    /// Turns it on as [`Self::idle`] does, after [`Self::power_off`] or [`Self::kill`].
    pub fn power_on(&mut self) {
        self.turn_on(&["-m", "16", "-S"].map(str::to_owned));
        self.plug();
    }

    /// A machine of these disks that is off.
    pub(crate) fn off(disks: &[Disk]) -> Self {
        assert!(disks.len() <= SLOTS, "a machine has {SLOTS} slots");
        Self { folder: program::folder(), disks: disks.to_vec(), program: None, before: None }
    }

    /// Starts QEMU, with no disks yet.
    pub(crate) fn turn_on(&mut self, words: &[String]) {
        assert!(self.program.is_none(), "the machine is on");
        let mut command = Command::new("qemu-system-x86_64");
        command.args(hardware()).args(program::monitors(self.folder.path(), "-chardev", "-mon")).args(words);
        self.program = Some(Program::start(&command, self.folder.path()));
    }

    /// Plugs the disks in.
    pub(crate) fn plug(&mut self) {
        for (slot, disk) in self.disks.iter().enumerate() {
            self.attach(slot, disk);
        }
        if self.before.is_none() {
            self.look_again();
        }
    }

    fn attach(&self, slot: usize, disk: &Disk) {
        self.monitor().execute("blockdev-add", disk.node());
        let device = json!({"driver": "virtio-blk-pci", "id": disk.device(), "drive": disk.name, "serial": disk.name,
            "bus": format!("slot{slot}")});
        self.monitor().execute("device_add", device);
    }

    /// The QMP socket for the product.
    #[must_use]
    pub fn qmp(&self) -> PathBuf {
        program::socket(&self.folder, "qmp")
    }

    /// A path in the folder of the machine.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its disks.
    #[must_use]
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    /// The disk of this name.
    #[must_use]
    pub fn disk(&self, name: &str) -> &Disk {
        self.disks.iter().find(|disk| disk.name == name).unwrap_or_else(|| panic!("no disk {name}"))
    }

    /// The test's own monitor.
    pub fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.running().monitor()
    }

    /// The number of the QEMU process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running().pid()
    }

    /// QEMU's word for what the machine does: `running`, `paused`, `prelaunch`, …
    #[must_use]
    pub fn status(&self) -> String {
        let status = self.monitor().execute("query-status", json!({}));
        status["status"].as_str().expect("a status is a word").to_owned()
    }

    /// What there is beyond what the machine had when it was first on.
    #[must_use]
    pub fn leftovers(&self) -> Leftovers {
        Leftovers::all(&mut self.monitor()).beyond(self.before.as_ref().expect("the machine is on"))
    }

    /// The named bitmaps of a disk.
    #[must_use]
    pub fn bitmaps(&self, disk: &str) -> Vec<Bitmap> {
        graph::bitmaps(&mut self.monitor(), disk)
    }

    /// Writes the bytes of a file to a disk, as its device would: through whatever has been put in between.
    pub fn write(&self, disk: &str, offset: u64, file: &Path) {
        let bytes = fs::metadata(file).expect("the file exists").len();
        let device = format!("/machine/peripheral/{}/virtio-backend", self.disk(disk).device());
        let line = format!("qemu-io -d {device} \"write -s {} {offset} {bytes}\"", file.display());
        let log = self.path("log");
        let done = || fs::read_to_string(&log).expect("QEMU has a log").matches("wrote ").count();
        let before = done();
        let told = self.monitor().execute("human-monitor-command", json!({"command-line": line}));
        assert!(done() == before + 1, "{line}: {told}{}", fs::read_to_string(&log).unwrap_or_default());
    }

    /// Copies of all disks at one instant, as `FOLDER/NAME.raw`, made without the product: the machine is stopped, QEMU has then
    /// written all that it held, and its tools read the files. A machine that was running goes on afterwards.
    ///
    /// To know what a backup must hold, stop the machine (`stop` through [`Self::monitor`]), back it up, copy, and let it go on:
    /// nothing changes in between, whatever ran in the guest.
    pub fn independent_copy(&self, folder: &Path) {
        fs::create_dir_all(folder).expect("a folder can be made");
        let was_running = self.program.is_some() && self.status() == "running";
        if self.program.is_some() {
            self.monitor().execute("stop", json!({}));
        }
        for disk in &self.disks {
            disk.copy_to(&folder.join(format!("{}.raw", disk.name)));
        }
        if was_running {
            self.monitor().execute("cont", json!({}));
        }
    }

    /// Resets it, as its button does.
    pub(crate) fn reset(&self) {
        let mut monitor = self.monitor();
        monitor.forget("RESET");
        monitor.execute("system_reset", json!({}));
        monitor.event("RESET");
    }

    /// Moves to another QEMU process that has the same disks, as a live migration on shared storage does.
    pub fn migrate(&mut self) {
        let mut target = Self::off(&self.disks);
        target.turn_on(&["-m", "16", "-S", "-incoming", "defer"].map(str::to_owned));
        target.plug();
        let uri = json!({"uri": format!("unix:{}", target.path("incoming").display())});
        target.monitor().execute("migrate-incoming", uri.clone());
        self.monitor().execute("migrate", uri);
        let state = || self.monitor().execute("query-migrate", json!({}))["status"].as_str().unwrap_or_default().to_owned();
        while state() != "completed" {
            assert!(state() != "failed", "{}", self.monitor().execute("query-migrate", json!({})));
            thread::sleep(Duration::from_millis(5));
        }
        self.power_off();
        // A machine that arrives stopped has its disks when it has run for a moment.
        target.monitor().execute("cont", json!({}));
        target.monitor().execute("stop", json!({}));
        *self = target;
    }

    /// Plugs another disk in while it is on.
    pub fn plug_in(&mut self, disk: Disk) {
        self.attach(self.disks.len(), &disk);
        self.disks.push(disk);
        self.look_again();
    }

    /// Unplugs its last disk, or another. No guest answers to that, but a reset does.
    pub fn unplug(&mut self, name: &str) {
        let device = self.disk(name).device();
        self.monitor().execute("device_del", json!({"id": device}));
        self.reset();
        self.monitor().event("DEVICE_DELETED");
        self.monitor().execute("blockdev-del", json!({"node-name": name}));
        self.disks.retain(|disk| disk.name != name);
        self.look_again();
    }

    /// Puts an overlay over a disk, as an operator's external snapshot: from here on the disk is what lies at `overlay`.
    pub fn snapshot_over(&mut self, name: &str, overlay: &Path) {
        let disk = self.disk(name).over_it(overlay);
        let file = json!({"driver": "file", "filename": overlay, "discard": "unmap"});
        let node =
            json!({"driver": "qcow2", "node-name": Self::overlay(name), "file": file, "backing": null, "discard": "unmap"});
        self.monitor().execute("blockdev-add", node);
        self.monitor().execute("blockdev-snapshot", json!({"node": name, "overlay": Self::overlay(name)}));
        self.set_disk(disk);
    }

    /// Writes what is in the overlay of [`Self::snapshot_over`] to the disk below, and goes on with that.
    pub fn commit_down(&mut self, name: &str, below: Disk) {
        let mut monitor = self.monitor();
        monitor.execute("block-commit", json!({"job-id": "commit", "device": Self::overlay(name)}));
        monitor.event("BLOCK_JOB_READY");
        monitor.execute("block-job-complete", json!({"device": "commit"}));
        monitor.event("BLOCK_JOB_COMPLETED");
        monitor.execute("blockdev-del", json!({"node-name": Self::overlay(name)}));
        drop(monitor);
        self.set_disk(below);
    }

    fn overlay(name: &str) -> String {
        format!("{name}-overlay")
    }

    fn set_disk(&mut self, new: Disk) {
        let old = self.disks.iter_mut().find(|disk| disk.name == new.name);
        *old.expect("the machine has this disk") = new;
        self.look_again();
    }

    /// What there is now is no leftover.
    pub(crate) fn look_again(&mut self) {
        let all = Leftovers::all(&mut self.monitor());
        self.before = Some(all);
    }

    /// Turns it off in order (`quit`): QEMU writes what it holds, bitmaps too.
    pub fn power_off(&mut self) {
        self.program.take().expect("the machine is on").quit();
    }

    /// Kills QEMU (SIGKILL).
    pub fn kill(&mut self) {
        drop(self.program.take().expect("the machine is on"));
    }

    fn running(&self) -> &Program {
        self.program.as_ref().expect("the machine is on")
    }
}

/// What every machine is made of.
pub(crate) fn hardware() -> Vec<String> {
    let words = "-machine q35,accel=tcg -smp 1 -nodefaults -no-user-config -display none";
    let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    for slot in 0..SLOTS {
        words.extend(["-device".to_owned(), format!("pcie-root-port,id=slot{slot},chassis={slot},slot={slot}")]);
    }
    words
}
