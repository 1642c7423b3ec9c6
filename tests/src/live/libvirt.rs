//! A domain of a libvirt of its own: its daemon, its sockets and its processes are all this test's, so that tests run beside each other and
//! beside the libvirt of the machine.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Output as Ended},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{disk::Disk, program, shell::Output, shell::Shell};
use crate::{
    Mounted, PATIENCE,
    servers::{Bound, tool},
};

/// A daemon that is not root's keeps everything in folders that the environment names.
const NOBODY: u32 = 65534;
/// Processes live in a namespace of their own and end with its first, which ends with us. That is a shell, because it takes note of orphans that
/// have ended, as QEMUs are: libvirt waits 40 s for each that nobody does. Its folder is the argument.
const DAEMON: &str = r#"exec unshare --mount --propagation slave --pid --fork --kill-child=KILL --mount-proc sh -c '"$@" & wait' sh \
    setpriv --reuid "$2" --regid "$2" --clear-groups \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME="$1" XDG_RUNTIME_DIR="$1/run" XDG_CONFIG_HOME="$1/config" \
    XDG_CACHE_HOME="$1/cache" XDG_DATA_HOME="$1/data" libvirtd"#;

/// A domain called `db`, and the libvirt that has it. Its disks are called `vda`, `vdb`, … in the order they are given.
pub struct Domain {
    // Ends before the folder goes.
    _daemon: Bound,
    folder: TempDir,
    disks: Vec<Disk>,
    shell: Mutex<Option<Shell>>,
}

impl Domain {
    /// The name of every such domain.
    pub const NAME: &str = "db";

    /// A domain that has booted, with a guest agent that has hooks. The disks are made in the folder that is given, by the names above.
    #[must_use]
    pub fn start(disks: impl FnOnce(&Path) -> Vec<Disk>) -> Self {
        Self::start_in(program::folder(), &[], disks)
    }

    /// The same, with a small file system for scratch files at [`Self::scratch`].
    #[must_use]
    pub fn start_with_scratch(size: &str, disks: impl FnOnce(&Path) -> Vec<Disk>) -> (Self, Mounted) {
        let folder = program::folder();
        let mounted = Mounted::tmpfs(&folder.path().join("scratch"), size);
        let entrance: Vec<String> =
            mounted.entrance().into_iter().map(|word| word.into_string().expect("words are text")).collect();
        (Self::start_in(folder, &entrance, disks), mounted)
    }

    fn start_in(folder: TempDir, entrance: &[String], disks: impl FnOnce(&Path) -> Vec<Disk>) -> Self {
        let at = folder.path();
        for name in ["run", "config", "cache", "data", "disks", "sockets"] {
            fs::create_dir(at.join(name)).expect("a folder can be made");
        }
        for name in ["vmlinuz", "initrd"] {
            fs::copy(tool(&format!("guest/{name}")), at.join(name)).expect("the guest can be copied");
        }
        let disks = disks(&at.join("disks"));
        fs::write(at.join("domain.xml"), described(at, &disks)).expect("a file can be written");
        fs::set_permissions(at, fs::Permissions::from_mode(0o755)).expect("a folder can be opened");
        give_away(at);
        let words: Vec<String> = entrance.iter().cloned().chain(["sh", "-c", DAEMON, "sh"].map(str::to_owned)).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(at).arg(NOBODY.to_string());
        let daemon = Bound::start(&command, &at.join("log"));
        let domain = Self { _daemon: daemon, folder, disks, shell: Mutex::new(None) };
        domain.until("libvirtd does not answer (tests/run installs it)", || domain.try_virsh(&["version"]).status.success());
        domain.virsh(&["define", &domain.arg("domain.xml")]);
        domain.boot();
        domain
    }

    /// libvirt's address, for the product.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("qemu+unix:///session?socket={}", self.arg("run/libvirt/libvirt-sock"))
    }

    /// A folder in which QEMU can make sockets.
    #[must_use]
    pub fn sockets(&self) -> PathBuf {
        self.path("sockets")
    }

    /// Where [`Self::start_with_scratch`] has room.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.path("scratch")
    }

    /// Its disks.
    #[must_use]
    pub fn disks(&self) -> &[Disk] {
        &self.disks
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arg(&self, name: &str) -> String {
        self.path(name).to_str().expect("temporary paths are text").to_owned()
    }

    /// Asks libvirt.
    #[must_use]
    pub fn try_virsh(&self, words: &[&str]) -> Ended {
        let mut command = Command::new("virsh");
        command.args(["-q", "-c", &self.uri()]).args(words).env("LC_ALL", "C");
        command.output().expect("virsh is installed (tests/run does it)")
    }

    /// Asks libvirt, which does it, and returns what it says.
    pub fn virsh(&self, words: &[&str]) -> String {
        let ended = self.try_virsh(words);
        assert!(ended.status.success(), "virsh {words:?}: {}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8_lossy(&ended.stdout).trim().to_owned()
    }

    /// What libvirt says the domain does, and why.
    #[must_use]
    pub fn state(&self) -> String {
        self.virsh(&["domstate", "--reason", Self::NAME])
    }

    /// The names of its checkpoints.
    #[must_use]
    pub fn checkpoints(&self) -> Vec<String> {
        self.virsh(&["checkpoint-list", "--name", Self::NAME]).lines().map(str::to_owned).collect()
    }

    /// Whether libvirt has a backup job for it.
    #[must_use]
    pub fn has_job(&self) -> bool {
        self.try_virsh(&["backup-dumpxml", Self::NAME]).status.success()
    }

    /// Boots it, and waits for its disks.
    pub fn boot(&self) {
        self.virsh(&["start", Self::NAME]);
        let mut shell = Shell::connect(&self.path("run/test"));
        let ready = shell.run(&format!("disks {}", self.disks.len()));
        assert_eq!(ready.code, 0, "{ready:?}");
        *self.shell.lock().unwrap_or_else(PoisonError::into_inner) = Some(shell);
    }

    /// Turns it off: QEMU writes what it holds, bitmaps too.
    pub fn power_off(&self) {
        self.virsh(&["destroy", Self::NAME]);
    }

    /// Kills QEMU (SIGKILL).
    pub fn kill(&self) {
        kill(&self.process(|words| words.starts_with("/usr/bin/qemu-system")).expect("QEMU runs"));
        self.until("libvirt does not see that QEMU is gone", || self.state().starts_with("shut off"));
    }

    /// Whether a program watches over a backup of it.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.watch().is_some()
    }

    /// Kills the program that watches over a backup of it (SIGKILL).
    pub fn kill_watch(&self) {
        while let Some(watch) = self.watch() {
            kill(&watch);
            self.until("the watch is not gone", || !watch.exists());
        }
    }

    fn watch(&self) -> Option<PathBuf> {
        self.process(|words| words.contains("stillpoint-watch"))
    }

    /// A running process whose command, which names this domain's folder, is the one that is looked for.
    fn process(&self, is: impl Fn(&str) -> bool) -> Option<PathBuf> {
        let folder = self.arg("");
        let is_ours = |process: &PathBuf| {
            let words = fs::read(process.join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).into_owned();
            words.contains(&folder) && is(&words)
        };
        fs::read_dir("/proc").expect("processes are shown").flatten().map(|entry| entry.path()).find(is_ours)
    }

    /// Runs a script in the guest, to its end.
    pub fn try_run(&self, script: &str) -> Output {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        shell.as_mut().expect("the guest is on").run(script)
    }

    /// Runs a script in the guest that works, and returns what it prints.
    pub fn run(&self, script: &str) -> String {
        let output = self.try_run(&format!("set -euo pipefail; {script}"));
        assert_eq!(output.code, 0, "{script}: {output:?}");
        output.stdout
    }

    /// Starts a script in the guest, which goes on by itself.
    pub fn spawn(&self, script: &str) {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        shell.as_mut().expect("the guest is on").start(script, false);
    }

    /// Where a domain can be restored to.
    #[must_use]
    pub fn beside(&self) -> PathBuf {
        self.path("beside")
    }

    /// Starts another domain, which was restored to a folder in [`Self::beside`], with its processors stopped.
    pub fn start_beside(&self, name: &str) {
        give_away(&self.beside());
        self.virsh(&["start", "--paused", name]);
    }

    /// Boots another domain, which was restored to [`Self::beside`] and has so many disks, and runs a script in it that works.
    pub fn run_beside(&self, name: &str, disks: usize, script: &str) -> String {
        give_away(&self.beside());
        self.virsh(&["start", name]);
        let mut shell = Shell::connect(&self.beside().join("test"));
        let output = shell.run(&format!("set -euo pipefail; disks {disks} >/dev/null; {script}"));
        assert_eq!(output.code, 0, "{script}: {output:?}");
        output.stdout
    }

    /// Copies of all disks as `FOLDER/NAME.raw`, made without the product; nothing may run in the guest meanwhile.
    pub fn independent_copy(&self, folder: &Path) {
        fs::create_dir_all(folder).expect("a folder can be made");
        for disk in &self.disks {
            disk.copy_to(&folder.join(format!("{}.raw", disk.name)));
        }
    }

    /// Files that backups have left beside the disks, in the folder of the sockets and in that of scratch files.
    #[must_use]
    pub fn leftover_files(&self) -> Vec<String> {
        let folders = [self.path("disks"), self.sockets()];
        folders.iter().flat_map(|folder| crate::disk::names(folder)).filter(|name| name.starts_with('.')).collect()
    }

    /// Waits for something to come.
    ///
    /// # Panics
    /// When it does not.
    pub fn until(&self, otherwise: &str, seen: impl Fn() -> bool) {
        let begun = Instant::now();
        while !seen() {
            let told = || fs::read_to_string(self.path("log")).unwrap_or_default();
            let state = || self.try_virsh(&["domstate", "--reason", Self::NAME]).stdout;
            assert!(begun.elapsed() < PATIENCE, "{otherwise} ({}): {}", String::from_utf8_lossy(&state()).trim(), told());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn kill(process: &Path) {
    let pid = process.file_name().and_then(|name| name.to_str()).expect("a process has a number");
    assert!(Command::new("kill").args(["-KILL", pid]).status().expect("kill is there").success());
}

/// Everything in a folder to the daemon's user.
fn give_away(path: &Path) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder can be read").flatten() {
            give_away(&entry.path());
        }
    }
    chown(path, Some(NOBODY), Some(NOBODY)).expect("root gives files away (the tests of libvirt need root)");
}

fn described(folder: &Path, disks: &[Disk]) -> String {
    let at = folder.display();
    let disk = |disk: &Disk| {
        let (name, path) = (&disk.name, disk.path.display());
        let format = disk.path.extension().and_then(|end| end.to_str()).expect("a disk's file ends with its format");
        format!(
            "<disk type='file' device='disk'><driver name='qemu' type='{format}' discard='unmap'/><source file='{path}'/>
            <target dev='{name}' bus='virtio'/><serial>{name}</serial></disk>"
        )
    };
    let disks: String = disks.iter().map(disk).collect();
    let name = Domain::NAME;
    format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>192</memory><vcpu>1</vcpu>
        <os><type arch='x86_64' machine='q35'>hvm</type><kernel>{at}/vmlinuz</kernel><initrd>{at}/initrd</initrd>
        <cmdline>console=ttyS0 quiet agent=hooks</cmdline></os><features><acpi/></features>
        <devices>{disks}<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
        <channel type='unix'><source mode='bind' path='{at}/run/test'/><target type='virtio' name='test'/></channel>
        <serial type='file'><source path='{at}/run/console'/><target port='0'/></serial><memballoon model='none'/></devices></domain>"
    )
}
