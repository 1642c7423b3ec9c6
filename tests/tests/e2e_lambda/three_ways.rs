//! The same story three ways: in one process, by workers on RabbitMQ, by the functions' bootstraps as AWS Lambda runs them. On
//! copies of one vault, whose keys name the same chunks the same, so that points can be compared hash for hash.

use std::{fs, path::Path, process::Command, sync::Arc};

use serde_json::Value;
use stillpoint_format::{ChunkId, parse_key_file};
use stillpoint_model::ItemName;
use stillpoint_store::{Access, Store};
use stillpoint_testkit::{TestClock, TestRandom};
use stillpoint_tests::{
    Host,
    disk::{self, MIB},
    number,
    servers::rabbitmq,
    text,
};
use stillpoint_vault::Vault;

use crate::cloud::Cloud;

const MACHINE: &str = "web-01";
/// What a backup reports of the disk. What it stores differs by some bytes: packs' random salts stand in their compressed pages.
const FIGURES: [&str; 2] = ["/read_bytes", "/changed_bytes"];

/// What must be the same whichever way a point was made.
#[derive(Debug, PartialEq)]
struct Made {
    figures: Vec<u64>,
    /// The id of each chunk of the disk, in order: a keyed hash of its bytes.
    chunks: Vec<Option<ChunkId>>,
}

/// Two backups with a day's change between them, and both restored.
fn story(host: &Host, folder: &Path, disk_path: &Path, key_file: &Path, restoring: impl FnOnce()) -> Vec<Made> {
    disk::sparse(disk_path, 384 * MIB, 7, &[(0, 70 * MIB), (128 * MIB, 70 * MIB), (256 * MIB + 512, 70 * MIB)]);
    host.add(MACHINE, &[("disk", disk_path)]);
    let first = host.backup(MACHINE);
    let as_it_was = folder.join("as-it-was.raw");
    disk::copy(disk_path, &as_it_was);
    disk::overwrite(disk_path, 300 * MIB + 512, &disk::noise(8, 3 * MIB));
    let second = host.backup(MACHINE);
    restoring();
    for (report, original) in [(&first, as_it_was.as_path()), (&second, disk_path)] {
        let into = folder.join(text(report, "/point"));
        fs::create_dir_all(&into).expect("a folder can be made");
        host.restores(MACHINE, text(report, "/point"), &into, &[("disk", original)]);
    }
    [first, second].iter().map(|report| made(host, key_file, report)).collect()
}

fn made(host: &Host, key_file: &Path, report: &Value) -> Made {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let chunks = runtime.block_on(chunks(host, key_file, text(report, "/point")));
    Made { figures: FIGURES.iter().map(|figure| number(report, figure)).collect(), chunks }
}

async fn chunks(host: &Host, key_file: &Path, point: &str) -> Vec<Option<ChunkId>> {
    let store = Store::open(&host.url(), Access::Existing, Arc::new(TestClock::new())).expect("the vault is there");
    let text = fs::read_to_string(key_file).expect("there is a key file");
    let (_, secret) = parse_key_file(&text).expect("it is a key file");
    let (clock, random) = (Arc::new(TestClock::new()), Arc::new(TestRandom::new(1)));
    let vault = Vault::open(store, &secret, clock, random).await.expect("the key opens the vault");
    let item: ItemName = MACHINE.parse().expect("a name");
    let point = vault.point(&item, point.parse().expect("an id")).await.expect("the point is committed");
    let manifest = vault.manifest(&point).await.expect("its manifest is whole");
    let mut chunks = Vec::new();
    for page in manifest.disks.iter().flat_map(|map| &map.pages) {
        match page {
            Some(place) => {
                let page = vault.pages(&manifest.packs, std::slice::from_ref(place)).await.remove(0).expect("the page is whole");
                chunks.extend(page.entries.iter().map(|entry| entry.map(|entry| entry.id)));
            }
            None => chunks.push(None),
        }
    }
    chunks
}

fn copied(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
    assert!(copied.success());
}

#[test]
fn one_process_workers_and_lambda_make_the_same_points() {
    let node = rabbitmq();
    let cloud = Cloud::new(&node);
    let folder = |name: &str| {
        let folder = cloud.lab.path(name);
        fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    };
    let keys = fs::read_dir(cloud.host.home().join(".config/stillpoint")).expect("there are keys").flatten();
    let key_file = keys.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|end| end == "key")).expect("a key");
    let (alone, workers) = (folder("alone"), folder("workers"));
    for folder in [&alone, &workers] {
        copied(cloud.host.vault(), &folder.join("vault"));
    }

    let host = cloud.lab.host("first").at_vault(&alone.join("vault"));
    let in_process = story(&host, &alone, &alone.join("disk.raw"), &key_file, || {});

    let host = host.at_vault(&workers.join("vault")).set("STILLPOINT_BROKER", &cloud.broker).set("STILLPOINT_SITE", "host-a");
    let worker = host.spawn(&["worker", "snapshot", "transfer", "commit", "restore", "schedule"]);
    let by_workers = story(&host, &workers, &workers.join("disk.raw"), &key_file, || {});
    worker.interrupt().ok();

    let lambda = folder("lambda");
    let mut mappings: Vec<_> =
        [("snapshot", 10), ("transfer", 4), ("commit", 10)].map(|(name, size)| cloud.mappings(name, size)).into();
    let by_lambda =
        story(&cloud.host, &lambda, &lambda.join("disk.raw"), &key_file, || mappings.push(cloud.mappings("restore", 4)));

    assert!(in_process[0].chunks.iter().flatten().count() >= 3 * 70 * 16 && in_process[0].chunks != in_process[1].chunks);
    assert!(in_process == by_workers, "workers made other points: {:?} and {:?}", figures(&in_process), figures(&by_workers));
    assert!(in_process == by_lambda, "Lambda made other points: {:?} and {:?}", figures(&in_process), figures(&by_lambda));
}

fn figures(made: &[Made]) -> Vec<&[u64]> {
    made.iter().map(|made| made.figures.as_slice()).collect()
}
