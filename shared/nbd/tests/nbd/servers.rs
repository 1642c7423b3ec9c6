//! NBD servers of others, in processes that end with the test, whatever becomes of it.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use stillpoint_nbd::Address;

/// No server has a reason to take longer to listen, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder whose paths are short enough for sockets.
pub struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    pub fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("nbd-").tempdir_in("/tmp").expect("a folder can be made") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn arg(&self, name: &str) -> String {
        self.path(name).to_str().expect("the path is text").to_owned()
    }

    pub fn socket(&self, name: &str) -> Address {
        Address::unix(self.path(name)).expect("the path is short")
    }

    /// An image of `mebibytes`: data in the first and the third quarter, holes elsewhere.
    pub fn image(&self, name: &str, mebibytes: usize) -> Vec<u8> {
        let bytes = image_bytes(mebibytes << 20);
        fs::write(self.path(name), []).expect("a file can be made");
        run("truncate", &["-s", &format!("{mebibytes}M"), &self.arg(name)]);
        let file = fs::OpenOptions::new().write(true).open(self.path(name)).expect("it is there");
        for start in [0, bytes.len() / 2] {
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes[start..start + bytes.len() / 4], start as u64)
                .expect("written");
        }
        bytes
    }
}

/// What [`Lab::image`] writes.
pub fn image_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for start in [0, length / 2] {
        for word in bytes[start..start + length / 4].chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
    }
    bytes
}

/// A server's process.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts a command (killed when this thread ends) and waits until something listens on `socket`.
    pub fn start(words: &[&str], socket: &Path) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(words).stdin(Stdio::null()).stderr(Stdio::null());
        let mut daemon = Self { child: command.spawn().expect("setpriv is installed") };
        let start = Instant::now();
        while UnixStream::connect(socket).is_err() {
            let ended = daemon.child.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "{words:?} ended: {ended:?}");
            assert!(start.elapsed() < PATIENCE, "{words:?} does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    pub fn kill(mut self) {
        self.end();
    }

    /// Asks it to end and waits until it has.
    pub fn end_well(mut self) {
        run("kill", &[&self.child.id().to_string()]);
        self.child.wait().expect("a child can be waited for");
    }

    fn end(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// `qemu-nbd` on a raw image, for several clients.
pub fn qemu_nbd(lab: &Lab, image: &str, socket: &str, more: &[&str]) -> Daemon {
    let (image, socket) = (lab.arg(image), lab.arg(socket));
    let words = ["qemu-nbd", "-f", "raw", "-t", "-e", "8", "-k", &socket];
    Daemon::start(&[&words, more, &[&image]].concat(), Path::new(&socket))
}

/// `nbdkit`, with a plugin and its parameters.
pub fn nbdkit(lab: &Lab, socket: &str, more: &[&str]) -> Daemon {
    let socket = lab.arg(socket);
    Daemon::start(&[&["nbdkit", "-f", "-U", &socket], more].concat(), Path::new(&socket))
}

/// `qemu-storage-daemon` with an NBD server.
pub fn storage_daemon(lab: &Lab, socket: &str, more: &[&str]) -> Daemon {
    let socket = lab.arg(socket);
    let server = format!("addr.type=unix,addr.path={socket}");
    Daemon::start(&[&["qemu-storage-daemon", "--nbd-server", &server], more].concat(), Path::new(&socket))
}

/// Runs a command that must succeed; its output.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {error}");
    String::from_utf8(output.stdout).expect("its output is text")
}
