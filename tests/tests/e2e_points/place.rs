//! A vault with a machine and some points of it.

use std::{fs, sync::Arc, thread::sleep, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use stillpoint_format::parse_key_file;
use stillpoint_model::{ItemName, PointId};
use stillpoint_ports::Clock;
use stillpoint_store::{Access, Store};
use stillpoint_testkit::{TestClock, TestRandom};
use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
    text,
};
use stillpoint_vault::{Point, Vault};

/// Longer than the points live that are made to be over.
const OVER: Duration = Duration::from_millis(1200);

pub struct Place {
    pub lab: Lab,
    pub host: Host,
    created: Value,
}

impl Place {
    /// A vault with the machine `web-01`.
    pub fn new() -> Self {
        let lab = Lab::new();
        let host = lab.host("first");
        let created = host.create();
        let path = lab.path("disk.raw");
        disk::full(&path, 2 * MIB, 40);
        host.add("web-01", &[("os", &path)]);
        Self { lab, host, created }
    }

    /// Backs up and returns the point's id.
    pub fn backup(&self, keep: &str) -> String {
        text(&self.host.json(&["backup", "web-01", "--keep", keep]), "/point").to_owned()
    }

    /// Two points whose time is up, and a newest one.
    pub fn with_two_over() -> (Self, [String; 3]) {
        let place = Self::new();
        let ids = ["1s", "1s", "30d"].map(|keep| place.backup(keep));
        sleep(OVER);
        (place, ids)
    }

    /// A point, as `points --all` shows it.
    pub fn point(&self, id: &str) -> Value {
        let document = self.host.json(&["points", "web-01", "--all"]);
        let all = document["points"].as_array().expect("points");
        all.iter().find(|point| text(point, "/id") == id).unwrap_or_else(|| panic!("no point {id} in {document}")).clone()
    }

    /// The points that are shown without `--all`.
    pub fn live(&self) -> Vec<String> {
        self.host.points("web-01").iter().map(|point| text(point, "/id").to_owned()).collect()
    }

    /// The rules that keep a point.
    pub fn rules(&self, id: &str) -> Vec<String> {
        let point = self.point(id);
        let reasons = point["reasons"].as_array().expect("reasons");
        reasons.iter().map(|reason| text(reason, "/rule").to_owned()).collect()
    }

    /// The vault as the library sees it, to put there what takes long to come about.
    pub async fn vault(&self) -> Vault {
        let key = fs::read_to_string(text(&self.created, "/key_file")).expect("the key file can be read");
        let (_, secret) = parse_key_file(&key).expect("a key file");
        let store = Store::open(&self.host.url(), Access::Existing, Arc::new(TestClock::new())).expect("the vault is there");
        let clock = TestClock::new();
        clock.jump(Timestamp::now().as_millisecond() - clock.now().as_millisecond());
        Vault::open(store, &secret, Arc::new(clock), Arc::new(TestRandom::new(1))).await.expect("the vault opens")
    }

    /// So many more points like the newest one, whose time is up.
    pub async fn more_that_are_over(&self, count: usize) {
        let (vault, machine) = (self.vault().await, web());
        let newest = vault.points(&machine).await.expect("points").pop().expect("a point").point.expect("a record");
        for _ in 0..count {
            let (id, instant) = (PointId::new(vault.ulid()), newest.instant - SignedDuration::from_hours(1));
            let point = Point { id, instant, keep_until: Some(instant), ..newest.clone() };
            vault.commit_point(&point).await.expect("a point");
        }
    }
}

/// The machine's name.
pub fn web() -> ItemName {
    "web-01".parse().expect("a name")
}

/// The ids that a dry run names, with why.
pub fn doomed(host: &Host) -> Vec<(String, String)> {
    let document = host.json(&["prune", "--dry-run"]);
    let machines = document["machines"].as_array().expect("machines");
    let points = machines.iter().flat_map(|machine| machine["points"].as_array().expect("points"));
    points.map(|point| (text(point, "/id").to_owned(), text(point, "/why").to_owned())).collect()
}
