//! Parts of the real world, given back when dropped.

use std::{
    io::{ErrorKind, Read},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;
use stillpoint_ports::Clock;
use tempfile::TempDir;

/// The wall clock.
pub(super) struct Wall;

#[async_trait]
impl Clock for Wall {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Runs a command to its end and returns what it printed.
pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{}", absent(program, &error)));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} failed (these tests need root): {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn absent(program: &str, error: &std::io::Error) -> String {
    let cure =
        if error.kind() == ErrorKind::NotFound { "; apt-get install xfsprogs btrfs-progs e2fsprogs qemu-utils" } else { "" };
    format!("cannot run {program}: {error}{cure}")
}

/// A mounted file system of its own.
pub(super) struct Mount {
    // Dropped after the unmount below.
    folder: TempDir,
}

impl Mount {
    /// Has holes and no reflinks.
    pub(super) fn ext4() -> Self {
        Self::image("mkfs.ext4", "64M")
    }

    /// Has reflinks.
    pub(super) fn xfs() -> Self {
        Self::image("mkfs.xfs", "320M")
    }

    /// Has reflinks, with rules of its own.
    pub(super) fn btrfs() -> Self {
        Self::image("mkfs.btrfs", "128M")
    }

    /// Has `size` bytes and no more.
    pub(super) fn tmpfs(size: &str) -> Self {
        let mount = Self { folder: TempDir::new().unwrap() };
        std::fs::create_dir(mount.path()).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "stillpoint", mount.text()]);
        mount
    }

    fn image(mkfs: &str, size: &str) -> Self {
        let mount = Self { folder: TempDir::new().unwrap() };
        std::fs::create_dir(mount.path()).unwrap();
        let image = mount.folder.path().join("image");
        let image = image.to_str().unwrap();
        run("truncate", &["-s", size, image]);
        run(mkfs, &["-q", image]);
        run("mount", &["-o", "loop", image, mount.text()]);
        mount
    }

    pub(super) fn path(&self) -> &'static Path {
        // Leaked for a test's lifetime, so that paths can be handed to blocking closures.
        Box::leak(self.folder.path().join("mount").into_boxed_path())
    }

    fn text(&self) -> &'static str {
        self.path().to_str().unwrap()
    }

    pub(super) fn read_only(&self) {
        run("mount", &["-o", "remount,ro", self.text()]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, so that a failed test that still has a file open leaves no mount behind.
        let ran = Command::new("umount").args(["--lazy", self.text()]).stderr(Stdio::null()).status();
        drop(ran);
    }
}

/// A block device made of a file.
pub(super) struct LoopDevice {
    pub(super) path: PathBuf,
    _backing: TempDir,
}

impl LoopDevice {
    pub(super) fn new(size_bytes: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let backing = folder.path().join("device");
        let backing = backing.to_str().unwrap();
        run("truncate", &["-s", &size_bytes.to_string(), backing]);
        Self { path: run("losetup", &["--find", "--show", backing]).into(), _backing: folder }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        drop(Command::new("losetup").arg("--detach").arg(&self.path).status());
    }
}

/// QEMU, holding a raw image open as a running machine does.
pub(super) struct Qemu {
    child: Child,
    _folder: TempDir,
}

impl Qemu {
    pub(super) fn writes(image: &Path) -> Self {
        Self::start(image, &[])
    }

    pub(super) fn reads(image: &Path) -> Self {
        Self::start(image, &["--read-only"])
    }

    fn start(image: &Path, options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("nbd");
        let mut command = Command::new("qemu-nbd");
        command.args(["--format=raw", "--persistent", "--socket"]).arg(&socket).args(options).arg(image);
        let child = command.spawn().unwrap_or_else(|error| panic!("{}", absent("qemu-nbd", &error)));
        let mut qemu = Self { child, _folder: folder };
        // It listens early, and greets once it has opened the image.
        let begun = Instant::now();
        while !greeted(&socket) {
            assert!(
                qemu.child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(20),
                "qemu-nbd did not start"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        qemu
    }
}

fn greeted(socket: &Path) -> bool {
    let greeting = |mut stream: UnixStream| stream.read_exact(&mut [0; 8]);
    UnixStream::connect(socket).and_then(greeting).is_ok()
}

impl Drop for Qemu {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
