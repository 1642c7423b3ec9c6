use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use stillpoint_tests::{
    Done, Host, Lab, PATIENCE, Running,
    disk::{self, MIB},
    servers::RabbitMq,
    text,
    vault_files::{PackName, is_pack, is_plan, objects, objects_of},
};

/// All functions, and a timer that is as impatient as a test.
pub const ALL: [&str; 9] = ["snapshot", "transfer", "commit", "restore", "schedule", "--tick", "500ms", "--stalled-after", "2s"];
/// The same without the timer: what is lost stays lost.
pub const UNTIMED: [&str; 4] = ["snapshot", "transfer", "commit", "restore"];

/// A vault, a machine `big` with two disks of noise (four segments), and a virtual host.
pub struct Plant {
    pub lab: Lab,
    /// Commands here work in their own process.
    pub local: Host,
    /// Commands here use the broker.
    pub host: Host,
    pub vhost: String,
    disks: [PathBuf; 2],
}

impl Plant {
    pub fn new(node: &RabbitMq) -> Self {
        let lab = Lab::new();
        let local = lab.host_with_vault();
        let vhost = node.vhost();
        let disks = ["os", "data"].map(|name| lab.path(&format!("{name}.raw")));
        disk::full(&disks[0], 136 * MIB, 90);
        disk::full(&disks[1], 24 * MIB, 91);
        let plant = Self { host: local.set("STILLPOINT_BROKER", &node.url(&vhost)), lab, local, vhost, disks };
        plant.local.add("big", &plant.named());
        plant
    }

    pub fn named(&self) -> [(&'static str, &Path); 2] {
        [("os", &self.disks[0]), ("data", &self.disks[1])]
    }

    /// Starts a worker.
    pub fn worker(&self, words: &[&str]) -> Running {
        self.host.bound_to_us().spawn(&[&["worker"], words].concat())
    }

    /// Begins a backup of `big` and leaves it to the workers; returns its job.
    pub fn detach(&self) -> String {
        let begun = self.host.json(&["backup", "big", "--detach"]);
        text(&begun, "/jobs/0/job").to_owned()
    }

    pub fn state(&self, job: &str) -> String {
        text(&self.show(job), "/state").to_owned()
    }

    pub fn show(&self, job: &str) -> Value {
        self.local.json(&["jobs", "show", job])
    }

    /// Waits until a job has ended; returns what its ledger says.
    pub fn ended(&self, job: &str) -> Value {
        until("the job has ended", || {
            let state = self.state(job);
            state.starts_with("completed") || state == "failed" || state == "cancelled"
        });
        self.show(job)
    }

    /// Waits until a job has completed, and checks that its point is whole and that nothing lies about.
    pub fn completed(&self, job: &str) {
        let shown = self.ended(job);
        assert_eq!(text(&shown, "/state"), "completed", "{shown}");
        let point = text(&shown, "/point");
        self.local.restores("big", point, &self.lab.path(&format!("restored-{job}")), &self.named());
        self.nothing_left();
    }

    /// Asserts that every snapshot was given back, and that the vault is sound.
    pub fn nothing_left(&self) {
        let folder = self.disks[0].parent().expect("a disk lies in a folder");
        let left: Vec<String> = disk::names(folder).into_iter().filter(|name| name.contains("raw") && name.len() > 8).collect();
        assert!(left.is_empty(), "beside the disks: {left:?}");
        let check = self.local.json(&["vault", "check"]);
        assert_eq!(check["findings"], Value::Array(Vec::new()), "{check}");
    }

    pub fn objects(&self) -> Vec<String> {
        objects(self.local.vault())
    }

    /// Waits until the vault has so many objects of a kind.
    pub fn has(&self, what: &str, kind: fn(&str) -> bool, count: usize) {
        until(what, || objects_of(self.local.vault(), kind).len() >= count);
    }

    /// Waits until a job's plan is there and its segments wait in their queues.
    pub fn planned(&self, node: &RabbitMq) {
        self.has("the plan exists", is_plan, 1);
        until("segments wait", || node.depths(&self.vhost).values().map(|depth| depth.ready).sum::<u64>() >= 4);
    }

    /// Packs of `job` that its point does not need: made by attempts that did not come to make a marker.
    pub fn unneeded_packs(&self, job: &str, before: &[String]) -> usize {
        let after = self.objects();
        let packs = after.iter().filter(|name| is_pack(name) && PackName::parse(name).job == job);
        let (done, begun): (Vec<&String>, Vec<&String>) = packs.partition(|name| PackName::parse(name).is_done(before));
        for name in done {
            assert!(before.contains(name), "{name} was stored again after its segment was done");
        }
        let mut attempts: Vec<PackName> = begun.iter().map(|name| PackName::parse(name)).collect();
        attempts.sort();
        attempts.dedup();
        let mut segments: Vec<(String, String)> =
            attempts.iter().map(|pack| (pack.group.clone(), pack.segment.clone())).collect();
        segments.dedup();
        attempts.len() - segments.len()
    }
}

/// Asserts that a worker ended as it was asked to.
pub fn drained(done: &Done) {
    assert_eq!(done.code, Some(0), "{done}");
}

/// Waits until `seen` holds.
pub fn until(what: &str, seen: impl Fn() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < PATIENCE, "still not so after {} s: {what}", PATIENCE.as_secs());
        thread::sleep(Duration::from_millis(20));
    }
}
