//! Processes of QEMU's, which end with the test.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stillpoint_tests::{Lab, PATIENCE};

/// A machine, or a storage daemon.
pub struct Machine {
    child: Child,
    socket: PathBuf,
}

impl Machine {
    /// A machine that has not begun to run, with a qcow2 disk `os`, a raw disk `data` and a CD.
    pub fn start(lab: &Lab, os: &Path, data: &Path) -> Self {
        Self::start_with(lab, os, data, &[])
    }

    /// The same, with more words on its command line.
    pub fn start_with(lab: &Lab, os: &Path, data: &Path, words: &[&str]) -> Self {
        let (qmp, iso) = (lab.path("db-01.qmp"), lab.path("tools.iso"));
        fs::write(&iso, vec![0; 1 << 20]).expect("a file can be written");
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-name", "db-01", "-machine", "q35", "-m", "32", "-nodefaults", "-display", "none", "-S"]);
        command.arg("-cdrom").arg(&iso);
        command.args(["-drive", &format!("file={},format=qcow2,if=none,id=os", os.display())]);
        command.args(["-device", "virtio-blk-pci,drive=os"]);
        command.args(["-blockdev", &format!("driver=raw,node-name=n1,file.driver=file,file.filename={}", data.display())]);
        command.args(["-device", "virtio-blk-pci,drive=n1,id=data"]);
        command.args(["-nic", "user,model=virtio-net-pci,mac=52:54:00:aa:bb:cc"]);
        command.args(["-qmp", &format!("unix:{},server=on,wait=off", qmp.display())]).args(words);
        Self::run(command, &qmp)
    }

    /// The machine that a start script starts.
    pub fn from_script(script: &Path, qmp: &Path) -> Self {
        Self::run(Command::new(script), qmp)
    }

    /// A storage daemon that exports an image as `disk`.
    pub fn export(image: &Path, socket: &Path) -> Self {
        let mut command = Command::new("qemu-storage-daemon");
        command.args(["--blockdev", &format!("qcow2,node-name=disk,file.driver=file,file.filename={}", image.display())]);
        command.args(["--nbd-server", &format!("addr.type=unix,addr.path={}", socket.display())]);
        command.args(["--export", "nbd,id=disk,node-name=disk,name=disk,writable=on"]);
        Self::run(command, socket)
    }

    fn run(mut command: Command, socket: &Path) -> Self {
        drop(fs::remove_file(socket));
        let child = command.stdin(Stdio::null()).spawn().expect("QEMU is installed (tests/run does it)");
        let machine = Self { child, socket: socket.to_path_buf() };
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(socket).is_err() {
            assert!(Instant::now() < end, "{command:?} does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        machine
    }

    /// The monitor's socket.
    pub fn qmp(&self) -> &Path {
        &self.socket
    }

    /// What a monitor answers.
    pub fn ask(&self, command: &str) -> Value {
        let mut stream = UnixStream::connect(&self.socket).expect("the monitor listens");
        let mut lines = BufReader::new(stream.try_clone().expect("a socket can be shared")).lines();
        for command in ["qmp_capabilities", command] {
            writeln!(stream, "{}", json!({ "execute": command, "id": command })).expect("the monitor reads");
        }
        loop {
            let line = lines.next().expect("the monitor answers").expect("the monitor is read");
            let mut answer: Value = serde_json::from_str(&line).expect("the monitor speaks JSON");
            if answer["id"] == command {
                return answer["return"].take();
            }
        }
    }

    /// Files of the disks that the guest can write to.
    pub fn files(&self) -> Vec<PathBuf> {
        let devices = self.ask("query-block");
        let devices = devices.as_array().expect("a list").iter();
        let writable = devices.filter(|device| device["removable"] == false && device["inserted"]["ro"] == false);
        writable.map(|device| device["inserted"]["file"].as_str().expect("a file").into()).collect()
    }

    /// Ends it, if it has not ended.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
