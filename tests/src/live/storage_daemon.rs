use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::MutexGuard,
};

use serde_json::json;
use tempfile::TempDir;

use super::{
    disk::Disk,
    graph::{self, Bitmap, Leftovers},
    program::{self, Program},
    qmp::Monitor,
};

/// Disks without a machine: a `qemu-storage-daemon`. For a disk `a` there are the node `a`, the node `top-a` above it (a place to put
/// a filter), and the writable export `a` of `top-a`, id `guest-a`, through which the test writes as a guest would.
pub struct StorageDaemon {
    folder: TempDir,
    disks: Vec<Disk>,
    program: Option<Program>,
    before: Leftovers,
}

impl StorageDaemon {
    /// A daemon with these disks.
    #[must_use]
    pub fn start(disks: &[Disk]) -> Self {
        let mut daemon = Self { folder: program::folder(), disks: disks.to_vec(), program: None, before: Leftovers::default() };
        daemon.turn_on();
        let before = Leftovers::all(&mut daemon.monitor());
        daemon.before = before;
        daemon
    }

    /// Starts it again after [`Self::quit`] or [`Self::kill`].
    pub fn turn_on(&mut self) {
        assert!(self.program.is_none(), "the daemon runs");
        let mut command = Command::new("qemu-storage-daemon");
        command.args(program::monitors(self.folder.path(), "--chardev", "--monitor"));
        command.args(["--nbd-server", &format!("addr.type=unix,addr.path={}", self.nbd().display())]);
        for disk in &self.disks {
            let name = &disk.name;
            let top = json!({"driver": "raw", "node-name": format!("top-{name}"), "file": name, "discard": "unmap"});
            command.args(["--blockdev", &disk.node().to_string(), "--blockdev", &top.to_string()]);
            command.args(["--export", &format!("nbd,id=guest-{name},node-name=top-{name},name={name},writable=on")]);
        }
        drop(std::fs::remove_file(self.nbd()));
        self.program = Some(Program::start(&command, self.folder.path()));
    }

    /// The QMP socket for the product.
    #[must_use]
    pub fn qmp(&self) -> PathBuf {
        program::socket(&self.folder, "qmp")
    }

    /// The socket of its NBD server.
    #[must_use]
    pub fn nbd(&self) -> PathBuf {
        program::socket(&self.folder, "nbd")
    }

    /// The test's own monitor.
    pub fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.program.as_ref().expect("the daemon runs").monitor()
    }

    /// What there is beyond what it began with.
    #[must_use]
    pub fn leftovers(&self) -> Leftovers {
        Leftovers::all(&mut self.monitor()).beyond(&self.before)
    }

    /// The named bitmaps of a disk.
    #[must_use]
    pub fn bitmaps(&self, disk: &str) -> Vec<Bitmap> {
        graph::bitmaps(&mut self.monitor(), disk)
    }

    /// Writes the bytes of a file to a disk, as its guest.
    pub fn write(&self, disk: &str, offset: u64, file: &Path) {
        let bytes = std::fs::metadata(file).expect("the file exists").len();
        self.io(disk, &format!("write -s {} {offset} {bytes}", file.display()));
    }

    /// Discards a range of a disk, as its guest.
    pub fn discard(&self, disk: &str, offset: u64, bytes: u64) {
        self.io(disk, &format!("discard {offset} {bytes}"));
    }

    /// Writes a disk's bytes, as its guest reads them, to a raw image.
    pub fn copy(&self, disk: &str, image: &Path) {
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "raw", "-O", "raw", &self.url(disk)]).arg(image);
        assert!(command.status().expect("qemu-img is installed (tests/run does it)").success(), "the export can be read");
    }

    /// Ends it in order: what it holds is written, bitmaps too.
    pub fn quit(&mut self) {
        self.program.take().expect("the daemon runs").quit();
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        drop(self.program.take().expect("the daemon runs"));
    }

    fn url(&self, disk: &str) -> String {
        format!("nbd+unix:///{disk}?socket={}", self.nbd().display())
    }

    fn io(&self, disk: &str, line: &str) {
        let mut command = Command::new("qemu-io");
        command.args(["-f", "raw", "-d", "unmap", "-c", line, "-c", "flush", &self.url(disk)]);
        let output = command.output().expect("qemu-io is installed (tests/run does it)");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stdout));
    }
}
