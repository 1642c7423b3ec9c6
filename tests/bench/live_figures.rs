//! What a backup of a running machine costs: how long the guest stands still, what an increment reads and stores, what the guest's writes
//! wait for; how fast a point is served over NBD, and how soon a machine is there again that boots from it. Prints a table;
//! `tests/bench/LIVE.md` has one.
//!
//! `cargo run --release -p stillpoint-tests --example live_figures [freeze|increment|latency|throughput|instant]…`

use std::{
    fs,
    io::{Write, stdout},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stillpoint_tests::{
    Host, Lab,
    disk::{MIB, full, noise},
    live::{Agent, Disk, Format, Guest, Machine, Started},
};

const MACHINE: &str = "db-01";
const BACKUPS: usize = 10;
const CHUNK: u64 = 65536;
const IMAGE: u64 = 512 * MIB;
const ROUNDS: usize = 3;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let load = || fs::read_to_string("/proc/loadavg").expect("/proc is mounted").trim().to_owned();
    say(&format!("load before: {}", load()));
    say("\n| figure | must be | is |\n|---|---|---|");
    let all: [(&str, fn()); 5] =
        [("freeze", freeze), ("increment", increment), ("latency", latency), ("throughput", throughput), ("instant", instant)];
    for (_, figure) in all.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|one| one == name)) {
        figure();
    }
    say(&format!("\nload after: {}", load()));
}

fn say(line: &str) {
    writeln!(stdout(), "{line}").expect("stdout takes lines");
}

fn add(host: &Host, machine: &Machine, more: &[&str]) {
    let qmp = format!("unix:{}", machine.qmp().display());
    host.json(&[&["machine", "add", MACHINE, "--platform", "qemu", "--qmp", &qmp], more].concat());
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} in {value}"))
}

/// How long an idle guest's file systems stand still.
fn freeze() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let guest = Guest::start(Agent::Hooks, &[Disk::ext4(&lab.path(""), "files", Format::Qcow2, 64 * MIB)]);
    add(&host, &guest.machine, &["--agent", &format!("unix:{}", guest.agent().display())]);
    for _ in 0..BACKUPS {
        let _done = host.run(&["backup", MACHINE, "--consistency", "application"]).ok();
    }
    let mut frozen: Vec<u64> = host.points(MACHINE).iter().map(|point| number(point, "frozen_ms")).collect();
    frozen.sort_unstable();
    let (median, worst) = (frozen[frozen.len() / 2], frozen[frozen.len() - 1]);
    say(&format!("| freeze time, idle guest, {BACKUPS} backups: median, highest, ms | median ≤ 1,000 | {median}, {worst} |"));
}

/// What an increment reads and stores against what was written.
fn increment() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let machine = Machine::idle(&[Disk::empty(&lab.path(""), "a", Format::Qcow2, 2048 * MIB)]);
    add(&host, &machine, &[]);
    let write = |offset: u64, length: u64, seed: u64| {
        fs::write(lab.path("bytes"), noise(seed, length)).expect("a file can be written");
        machine.write("a", offset, &lab.path("bytes"));
    };
    for part in 0..8 {
        write(part * 64 * MIB, 64 * MIB, part);
    }
    let _first = host.run(&["backup", MACHINE]).ok();
    for place in 0..400 {
        write(place * 2_654_435_761 % (512 * MIB) / 4096 * 4096, 4096, 1000 + place);
    }
    let dirty: u64 = machine.bitmaps("a").iter().map(|bitmap| bitmap.dirty_bytes).sum();
    let _second = host.run(&["backup", MACHINE]).ok();
    let point = host.points(MACHINE).pop().expect("there is a point");
    let (read, stored) = (number(&point, "read_bytes"), number(&point, "stored_bytes"));
    let most = dirty * 11 / 10 + 4 * MIB;
    say(&format!(
        "| increment after 400 scattered writes of 4 KiB ({dirty} bytes dirty): read, stored | ≤ {most} | {read}, {stored} |"
    ));
}

/// Writes of a guest, and what else holds while a backup reads.
struct Load {
    what: &'static str,
    must: &'static str,
    /// From one write to the next; none: one after the other.
    pause: Duration,
    /// Places and flags of the writes, from a number on.
    writes: fn(u64) -> Vec<(u64, &'static str)>,
    reads_per_second: Option<&'static str>,
}

/// What writes of a guest take, with nobody else and while a backup reads whose vault takes 1 MB/s.
fn latency() {
    // Each is the first to its chunk since the cut: the old one is copied before.
    let firsts = |from| (from..from + 2000).map(|place| (place * 2 % 4096 * CHUNK + place * 2 / 4096 % 2 * CHUNK, "")).collect();
    let burst = |from| (from..from + 1000).map(|place| (place * 2 % 4096 * CHUNK, "")).collect();
    // A database's pages: each is on disk before the next one.
    let pages = |from| (from..from + 3000).map(|place| (place * 2_654_435_761 % (16 * MIB) / 4096 * 4096, "-f")).collect();
    let (none, pause) = (Duration::ZERO, Duration::from_millis(15));
    for load in [
        Load {
            what: "write of 4 KiB, each the first to its 64 KiB, 2,000 in half a minute",
            must: "p99 ≤ 3 ×",
            pause,
            writes: firsts,
            reads_per_second: None,
        },
        Load {
            what: "the same, 1,000 one after the other from the first moment",
            must: "",
            pause: none,
            writes: burst,
            reads_per_second: None,
        },
        Load {
            what: "the same, with `--reads-per-second 400`",
            must: "",
            pause: none,
            writes: burst,
            reads_per_second: Some("400"),
        },
        Load {
            what: "write and flush of 4 KiB pages in 16 MiB, 3,000 one after the other",
            must: "",
            pause: none,
            writes: pages,
            reads_per_second: None,
        },
    ] {
        latency_of(&load);
    }
}

/// A row of the table.
fn latency_of(load: &Load) {
    let rounds: Vec<[(f64, f64); 2]> = (0..ROUNDS).map(|_| latency_once(load)).collect();
    let of = |which: usize, share: fn((f64, f64)) -> f64| median(rounds.iter().map(|round| share(round[which])).collect());
    let (p50, p99) = (of(1, |times| times.0), of(1, |times| times.1));
    let (p50_before, p99_before) = (of(0, |times| times.0), of(0, |times| times.1));
    let (what, must, times) = (load.what, load.must, p99 / p99_before);
    say(&format!(
        "| {what}, while a backup reads, vault at 1 MB/s: p50, p99, ms; without a backup | {must} | {p50:.2}, {p99:.2}; {p50_before:.2}, {p99_before:.2}: {times:.1} × |",
    ));
}

/// p50 and p99 in milliseconds, without a backup and with one.
fn latency_once(load: &Load) -> [(f64, f64); 2] {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let machine = Machine::idle(&[Disk::empty(&lab.path(""), "a", Format::Qcow2, 512 * MIB)]);
    add(&host, &machine, &[]);
    fs::write(lab.path("bytes"), noise(1, 256 * MIB)).expect("a file can be written");
    machine.write("a", 0, &lab.path("bytes"));
    let without = take(&machine, load.pause, &(load.writes)(0));
    let host = host.set("STILLPOINT_BYTES_PER_SECOND", "1000000");
    let host = load.reads_per_second.map_or(host.clone(), |most| host.set("STILLPOINT_READS_PER_SECOND", most));
    let running = host.spawn(&["backup", MACHINE]);
    while machine.leftovers().exports.is_empty() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let during = take(&machine, load.pause, &(load.writes)(2000));
    assert_eq!(machine.leftovers().exports.len(), 1, "the backup reads still");
    drop(running.kill());
    let at = |all: &[Duration], share: usize| all[all.len() * share / 100].as_secs_f64() * 1000.0;
    [without, during].map(|times| (at(&times, 50), at(&times, 99)))
}

fn take(machine: &Machine, pause: Duration, writes: &[(u64, &str)]) -> Vec<Duration> {
    let device = "/machine/peripheral/disk-a/virtio-backend";
    let take = |(number, (offset, flags)): (usize, &(u64, &str))| {
        let line = format!("qemu-io -d {device} \"write {flags} -P {} {offset} 4096\"", number % 251);
        let begun = Instant::now();
        machine.monitor().execute("human-monitor-command", json!({ "command-line": line }));
        let took = begun.elapsed();
        std::thread::sleep(pause.saturating_sub(took));
        took
    };
    let mut times: Vec<Duration> = writes.iter().enumerate().map(take).collect();
    times.sort_unstable();
    times
}

fn median<T: PartialOrd + Copy>(mut all: Vec<T>) -> T {
    all.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
    all[all.len() / 2]
}

/// Reading a point that is served, and the same image from qemu-nbd; both from memory, by nbdcopy, in turns.
fn throughput() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    full(&lab.path("image"), IMAGE, 1);
    host.add("web-01", &[("image", &lab.path("image"))]);
    host.backup("web-01");
    let ours = host.spawn(&["serve-point", "web-01", "--cache", "1GiB", "--nbd", &format!("unix:{}", lab.arg("ours"))]);
    let mut theirs = Command::new("qemu-nbd");
    theirs.args([
        "--read-only",
        "--persistent",
        "--shared=8",
        "--format=raw",
        "--export-name=image",
        "--socket",
        &lab.arg("theirs"),
    ]);
    let mut theirs = theirs.arg(lab.path("image")).spawn().expect("tests/run installs it");
    while !lab.path("ours").exists() || !lab.path("theirs").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let read = |socket: &str| {
        let begun = Instant::now();
        let done = Command::new("nbdcopy").args([&format!("nbd+unix:///image?socket={}", lab.arg(socket)), "null:"]).status();
        assert!(done.expect("tests/run installs it").success(), "nbdcopy");
        IMAGE as f64 / MIB as f64 / begun.elapsed().as_secs_f64()
    };
    let first = read("ours");
    read("theirs");
    let (ours_rates, theirs_rates): (Vec<f64>, Vec<f64>) = (0..ROUNDS).map(|_| (read("ours"), read("theirs"))).unzip();
    let (rate, against) = (median(ours_rates), median(theirs_rates));
    drop(ours.terminate());
    theirs.kill().expect("a child can be killed");
    theirs.wait().expect("a child can be waited for");
    say(&format!(
        "| NBD, 512 MiB in memory, MiB/s: serve-point; qemu-nbd (serve-point with nothing in its cache: {first:.0}) | ≥ 0.7 × | {rate:.0}; {against:.0}: {:.2} |",
        rate / against
    ));
}

/// Until a guest has booted, and until it has read a file of 48 MiB: with `restore --instant`, and by its start script afterwards.
fn instant() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    {
        let guest = Guest::cold(Agent::Plain, &[Disk::ext4(&lab.path(""), "files", Format::Qcow2, 1024 * MIB)]);
        add(&host, &guest.machine, &[]);
        guest.run(
            "dd if=/dev/urandom of=/mnt/files/most bs=1M count=600; dd if=/dev/urandom of=/mnt/files/file bs=1M count=48; sync",
        );
        let _done = host.run(&["backup", MACHINE]).ok();
    }
    let (mut served, mut local, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let folder = lab.path(&format!("vm-{round}"));
        let started = Started::at(&folder);
        let begun = Instant::now();
        let running =
            host.spawn(&["restore", MACHINE, "--instant", "--as", "db-02", "--to", folder.to_str().expect("text"), "--json"]);
        served.push(boots(&started, &folder, begun));
        whole.push(number(&running.finish().ok().json(), "local_ms"));
        started.kill();
        fs::remove_file(folder.join("console")).expect("the guest has a console");
        let begun = Instant::now();
        let mut script = Command::new(folder.join("start.sh")).spawn().expect("the script runs");
        local.push(boots(&started, &folder, begun));
        started.kill();
        script.wait().expect("a child can be waited for");
        fs::remove_dir_all(&folder).expect("a folder can be removed");
    }
    let of = |times: &[(f64, f64)], which: fn(&(f64, f64)) -> f64| median(times.iter().map(which).collect());
    let (booted, read) = (of(&served, |times| times.0), of(&served, |times| times.1));
    let (booted_local, read_local) = (of(&local, |times| times.0), of(&local, |times| times.1));
    say(&format!(
        "| `restore --instant` to a booted guest, s; the same machine from its local disk | within 3 s | {booted:.1}; {booted_local:.1}: {:+.1} |",
        booted - booted_local
    ));
    say(&format!("| … until it has read a file of 48 MiB, s; from its local disk | | {read:.1}; {read_local:.1} |"));
    say(&format!("| … until its 1 GiB disk with 648 MiB of data is local, s | | {:.1} |", median(whole) as f64 / 1000.0));
}

/// Seconds until the guest says on its console that it has booted, and until it has read the file.
fn boots(started: &Started, folder: &Path, begun: Instant) -> (f64, f64) {
    while !fs::read_to_string(folder.join("console")).is_ok_and(|console| console.contains("GUEST-READY")) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let booted = begun.elapsed().as_secs_f64();
    started.run("cat /mnt/files/file >/dev/null");
    (booted, begun.elapsed().as_secs_f64())
}
