//! What `stillpoint` and `virtnbdbackup` take to back the same guest up under libvirt, in full and by its changes: time, and bytes written. Prints a
//! table; `tests/bench/LIVE.md` has one.
//!
//! `cargo run --release -p stillpoint-tests --example live_peers`, as root, with Debian's package virtnbdbackup.

use std::{
    fs,
    io::{Write, stdout},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use stillpoint_tests::{
    Host, Lab,
    disk::MIB,
    live::{Disk, Domain, Format},
};

const MACHINE: &str = "db-01";
const ROUNDS: usize = 3;
const DISK: u64 = 2048 * MIB;
/// What lies on the disk: files of this machine, as many as there is room for.
const FILES: &str = "/usr/lib/x86_64-linux-gnu";
/// A file of 16 MiB that does not compress, and 200 pages of 4 KiB somewhere in one of 256 MiB.
const CHANGES: &str = "dd if=/dev/urandom of=/mnt/vda/new bs=1M count=16 2>/dev/null
    i=0; while [ $i -lt 200 ]; do
        dd if=/dev/urandom of=/mnt/vda/pages bs=4k seek=$((i * 3571 % 65536)) count=1 conv=notrunc 2>/dev/null; i=$((i + 1))
    done; sync";

/// Seconds and bytes: in full, and of the changes.
type Taken = [(f64, u64); 2];

fn main() {
    let load = || fs::read_to_string("/proc/loadavg").expect("/proc is mounted").trim().to_owned();
    say(&format!("load before: {}", load()));
    let domain = Domain::start(|folder| vec![disk(folder)]);
    domain.run("dd if=/dev/urandom of=/mnt/vda/pages bs=1M count=256 2>/dev/null; sync");
    let mut all: [Vec<Taken>; 3] = Default::default();
    for round in 0..ROUNDS {
        for turn in 0..3 {
            let which = (round + turn) % 3;
            let taken = match which {
                0 => ours(&domain),
                1 => theirs(&domain, &[]),
                _ => theirs(&domain, &["--compress"]),
            };
            all[which].push(taken);
        }
    }
    say("\n| | full, s | bytes written | changes, s | bytes written |\n|---|---|---|---|---|");
    for (name, taken) in ["stillpoint", "virtnbdbackup", "virtnbdbackup --compress"].into_iter().zip(&all) {
        let [full, changes] = [0, 1].map(|kind| {
            let seconds = median(taken.iter().map(|taken| taken[kind].0).collect());
            let bytes = median(taken.iter().map(|taken| taken[kind].1).collect());
            format!("{seconds:.1} | {bytes}")
        });
        say(&format!("| {name} | {full} | {changes} |"));
    }
    say(&format!("\nload after: {}", load()));
}

fn say(line: &str) {
    writeln!(stdout(), "{line}").expect("stdout takes lines");
}

fn disk(folder: &Path) -> Disk {
    let image = folder.join("image");
    fs::File::create(&image).and_then(|file| file.set_len(DISK)).expect("an image can be made");
    let mut command = Command::new("mke2fs");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").args(["-q", "-t", "ext4", "-d", FILES]).arg(&image);
    assert!(command.status().expect("mke2fs is installed").success(), "the files of {FILES} fit");
    let disk = Disk::with_bytes_of(&image, folder, "vda", Format::Qcow2);
    fs::remove_file(&image).expect("the image can be removed");
    disk
}

fn ours(domain: &Domain) -> Taken {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let (uri, sockets) = (domain.uri(), format!("sockets={}", domain.sockets().display()));
    host.json(&[
        "machine",
        "add",
        MACHINE,
        "--platform",
        "libvirt",
        "--uri",
        &uri,
        "--domain",
        Domain::NAME,
        "--setting",
        &sockets,
    ]);
    let once = |host: &Host| {
        let _done = host.run(&["backup", MACHINE]).ok();
    };
    let taken = both(domain, host.vault(), || once(&host));
    host.json(&["machine", "untrack", MACHINE]);
    taken
}

fn theirs(domain: &Domain, more: &[&str]) -> Taken {
    let lab = Lab::new();
    let (uri, folder, socket) = (domain.uri(), lab.arg("theirs"), domain.sockets().join("theirs"));
    let mut level = "full";
    let taken = both(domain, &lab.path("theirs"), || {
        let mut command = Command::new("virtnbdbackup");
        command.args(["--domain", Domain::NAME, "--uri", &uri, "--output", &folder, "--noprogress", "--level", level]);
        // It does not go to a libvirt at a socket of its own without, and nobody asks for them there.
        command.args(["--user", "nobody", "--password", "none"]);
        command.arg("--socketfile").arg(&socket).arg("--scratchdir").arg(domain.sockets()).args(more);
        let done = command.output().expect("apt-get install virtnbdbackup");
        assert!(done.status.success(), "virtnbdbackup: {}", String::from_utf8_lossy(&done.stderr));
        level = "inc";
    });
    for checkpoint in domain.checkpoints().iter().rev() {
        domain.virsh(&["checkpoint-delete", Domain::NAME, checkpoint]);
    }
    taken
}

/// A backup, changes in the guest, and another one.
fn both(domain: &Domain, folder: &Path, mut backup: impl FnMut()) -> Taken {
    let mut once = || {
        let (before, begun) = (bytes_in(folder), Instant::now());
        backup();
        (begun.elapsed().as_secs_f64(), bytes_in(folder) - before)
    };
    let full = once();
    domain.run(CHANGES);
    [full, once()]
}

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let bytes = |path: PathBuf| if path.is_dir() { bytes_in(&path) } else { fs::metadata(&path).expect("a file is there").len() };
    entries.map(bytes).sum()
}

fn median<T: PartialOrd + Copy>(mut all: Vec<T>) -> T {
    all.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
    all[all.len() / 2]
}
