//! A long past for a machine: points that the timer would have made, copied from one real point.

use std::{fs, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use stillpoint_format::parse_key_file;
use stillpoint_model::{ItemName, PointId};
use stillpoint_store::{Access, Store};
use stillpoint_testkit::{TestClock, TestRandom};
use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
    text,
};
use stillpoint_vault::{Point, Vault};

/// A vault with a machine `web-01` (tag `env=prod`) that has one point on demand, and a scheduled one of each of the last `days`
/// days.
pub fn of_days(lab: &Lab, days: i64) -> Host {
    let host = lab.host("first");
    let key_file = text(&host.create(), "/key_file").to_owned();
    let path = lab.path("disk.raw");
    disk::full(&path, MIB, 1);
    host.json(&["machine", "add", "web-01", "--disk", &format!("os={}", path.display()), "--tag", "env=prod"]);
    host.backup("web-01");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(copy(&host, &key_file, days));
    host
}

async fn copy(host: &Host, key_file: &str, days: i64) {
    let store = Store::open(&host.url(), Access::Existing, Arc::new(TestClock::new())).expect("the vault is there");
    let (_, secret) = parse_key_file(&fs::read_to_string(key_file).expect("there is a key file")).expect("it is a key file");
    let (clock, random) = (Arc::new(TestClock::new()), Arc::new(TestRandom::new(7)));
    let vault = Vault::open(store, &secret, Arc::<TestClock>::clone(&clock), random).await.expect("the key opens the vault");
    let item: ItemName = "web-01".parse().expect("a name");
    let id = *vault.point_ids(&item).await.expect("points are listed").last().expect("there is a point");
    let real = vault.point(&item, id).await.expect("the point is whole");
    for ago in 1..=days {
        let instant = real.instant - SignedDuration::from_hours(24 * ago);
        clock.jump(instant.as_millisecond() - vault.clock().now().as_millisecond());
        let scheduled = Point { id: PointId::new(vault.ulid()), instant, committed: instant, keep_until: None, ..real.clone() };
        vault.commit_point(&scheduled).await.expect("a point can be committed");
    }
}

/// Whole days that a point is old.
pub fn days_old(time: &str) -> i64 {
    let time: Timestamp = time.parse().expect("a time");
    Timestamp::now().duration_since(time).as_hours() / 24
}
