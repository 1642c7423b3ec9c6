use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A small file system that only commands started inside it see. A process of its own holds it and waits for the end of its
/// input, so it vanishes with the test, also where the test is killed.
pub struct Mounted {
    holder: Holder,
    at: PathBuf,
}

impl Mounted {
    /// An empty file system in memory, of `size` (`4m`).
    #[must_use]
    pub fn tmpfs(at: &Path, size: &str) -> Self {
        Self::hold(at, r#"mount -t tmpfs -o "size=$2" stillpoint-lab "$1""#, size)
    }

    /// An empty XFS, which shares extents between files, in the image file `image`.
    #[must_use]
    pub fn xfs(at: &Path, image: &Path) -> Self {
        let file = fs::File::create(image).expect("an image can be made");
        file.set_len(512 << 20).expect("an image can be sized");
        let status = Command::new("mkfs.xfs").args(["-q", "-m", "reflink=1"]).arg(image).status();
        assert!(status.expect("mkfs.xfs is installed (tests/run does it)").success(), "mkfs.xfs works");
        Self::hold(at, r#"mount -t xfs -o loop "$2" "$1""#, image.to_str().expect("temporary paths are text"))
    }

    fn hold(at: &Path, mount: &str, argument: &str) -> Self {
        fs::create_dir_all(at).expect("a mount point can be made");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg(format!(r#"{mount} && echo mounted && exec cat >/dev/null"#)).arg("sh").arg(at).arg(argument);
        let (holder, line) = Holder::start(command);
        assert_eq!(line, "mounted", "{} can be mounted", at.display());
        Self { holder, at: at.to_owned() }
    }

    /// What to put before a command so that it sees the file system.
    pub(crate) fn entrance(&self) -> Vec<OsString> {
        let pid = self.holder.child.id().to_string();
        ["nsenter", "--target", &pid, "--mount", "--"].iter().map(OsString::from).collect()
    }

    /// Mounts it again with other options (`ro`, `size=64m`).
    pub fn remount(&self, options: &str) {
        let entrance = self.entrance();
        let mut command = Command::new(&entrance[0]);
        command.args(&entrance[1..]).arg("mount").arg("-o").arg(format!("remount,{options}")).arg(&self.at);
        assert!(command.status().expect("nsenter is installed").success(), "remount with {options}");
    }

    /// Where the test itself, outside, reaches a path that lies in the file system.
    #[must_use]
    pub fn from_outside(&self, inside: &Path) -> PathBuf {
        let below = inside.strip_prefix("/").expect("paths in a lab are absolute");
        Path::new("/proc").join(self.holder.child.id().to_string()).join("root").join(below)
    }
}

/// A block device over a file, given back when the test ends, however it ends.
pub struct LoopDevice {
    holder: Holder,
    path: PathBuf,
}

impl LoopDevice {
    /// A device over `file`.
    #[must_use]
    pub fn over(file: &Path) -> Self {
        let mut command = Command::new("sh");
        let script = r#"device=$(losetup --find --show "$1") && echo "$device" && cat >/dev/null; losetup --detach "$device""#;
        command.args(["-c", script, "sh"]).arg(file);
        let (holder, line) = Holder::start(command);
        assert!(line.starts_with("/dev/"), "a loop device over {}", file.display());
        Self { holder, path: line.into() }
    }

    /// The device.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the device back now, so that the file has all that was written.
    pub fn detach(mut self) {
        self.holder.release();
    }
}

/// A process that holds something until its input ends.
struct Holder {
    child: Child,
}

impl Holder {
    fn start(mut command: Command) -> (Self, String) {
        let root = fs::metadata("/proc/self").expect("/proc is mounted").uid() == 0;
        assert!(root, "this test mounts a small file system or attaches a loop device: run the tests as root");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("unshare and sh are installed (util-linux)");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("the output is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
        (Self { child }, line.trim_end().to_owned())
    }

    fn release(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("a child can be waited for");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.release();
    }
}
