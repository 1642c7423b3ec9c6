//! The client against servers of others, and against ours.

use std::fs;

use bytes::Bytes;
use stillpoint_model::ErrorKind;
use stillpoint_nbd::{Address, Client, Options, ServeOptions};

use crate::{
    conformance::{ALLOCATION, Abilities, check},
    disk::{Memory, Serving},
    servers::{Lab, image_bytes, nbdkit, qemu_nbd, run, storage_daemon},
};

const EVERYTHING: Abilities = Abilities { several_connections: true, holes: true };

#[tokio::test(flavor = "multi_thread")]
async fn qemu_nbd_is_understood() {
    let lab = Lab::new();
    let bytes = lab.image("disk", 64);
    let _server = qemu_nbd(&lab, "disk", "s", &[]);
    let written = check(&lab.socket("s"), "", bytes, EVERYTHING).await;
    assert!(fs::read(lab.path("disk")).expect("it can be read") == written);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_daemon_is_understood() {
    let lab = Lab::new();
    let bytes = lab.image("raw", 64);
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &lab.arg("raw"), &lab.arg("disk")]);
    let file = format!("driver=qcow2,node-name=disk,file.driver=file,file.filename={}", lab.arg("disk"));
    let export = ["--blockdev", &file, "--export", "type=nbd,id=e,node-name=disk,name=os,writable=on"];
    let server = storage_daemon(&lab, "s", &export);
    let written = check(&lab.socket("s"), "os", bytes, EVERYTHING).await;
    let missing = Client::connect(&lab.socket("s"), "data\n", &[], &Options::default()).await.err().expect("there is none");
    assert_eq!(missing.kind(), ErrorKind::Missing);
    assert!(missing.one_line().starts_with(&format!("export 'data\\n' of {}: ", lab.socket("s"))), "{}", missing.one_line());
    server.kill();
    run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", &lab.arg("disk"), &lab.arg("raw")]);
    assert!(fs::read(lab.path("raw")).expect("it can be read") == written);
}

#[tokio::test(flavor = "multi_thread")]
async fn nbdkit_is_understood() {
    let lab = Lab::new();
    let bytes = lab.image("disk", 64);
    let _server = nbdkit(&lab, "s", &["file", &lab.arg("disk")]);
    let written = check(&lab.socket("s"), "", bytes, EVERYTHING).await;
    assert!(fs::read(lab.path("disk")).expect("it can be read") == written);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_server_is_understood() {
    for address in [Lab::new().socket("s"), "tcp:127.0.0.1:0".parse().expect("an address")] {
        let lab = Lab::new();
        let address = if matches!(address, Address::Unix(_)) { lab.socket("s") } else { address };
        let disk = Memory::new(image_bytes(32 << 20), false);
        let server = Serving::start(&address, &[("os", disk.clone())], ServeOptions::default()).await;
        let written = check(&server.address, "os", disk.bytes(), EVERYTHING).await;
        assert!(disk.bytes() == written);
        server.stop().await;
    }
}

/// A server without structured replies: no contexts, and reads are answered in one piece.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_is_read_without_a_map() {
    let lab = Lab::new();
    let bytes = lab.image("disk", 40);
    let _server = nbdkit(&lab, "s", &["--no-sr", "file", &lab.arg("disk")]);
    let client = Client::connect(&lab.socket("s"), "", &[ALLOCATION], &Options::default()).await.expect("it connects");
    assert!(!client.has_context(ALLOCATION));
    assert!(client.read(0, vec![9; bytes.len()]).await.expect("it reads") == bytes);
    client.write(7, Bytes::from_static(b"text")).await.expect("it writes");
    assert_eq!(client.read(6, vec![9; 6]).await.expect("it reads"), [&bytes[6..7], b"text", &bytes[11..12]].concat());
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_whole_blocks_of_a_server_that_wants_them() {
    let lab = Lab::new();
    let bytes = lab.image("disk", 8);
    let strict = ["--filter=blocksize-policy", "file", &lab.arg("disk"), "blocksize-error-policy=error"];
    let sizes = ["blocksize-minimum=4096", "blocksize-preferred=65536", "blocksize-maximum=262144"];
    let _server = nbdkit(&lab, "s", &[&strict[..], &sizes].concat());
    let client = Client::connect(&lab.socket("s"), "", &[ALLOCATION], &Options::default()).await.expect("it connects");
    let sizes = client.block_sizes();
    assert_eq!((sizes.minimum, sizes.preferred, sizes.maximum), (4096, 65_536, 262_144));
    assert!(client.read(0, vec![9; bytes.len()]).await.expect("all, in pieces") == bytes);
    assert!(client.read(4095, vec![9; 300_000]).await.expect("rounded outward") == bytes[4095..304_095]);
    let runs = client.map(ALLOCATION, 5, 1_000_000).await.expect("rounded outward");
    assert_eq!(runs.iter().map(|run| run.length).sum::<u64>(), 1_000_000);
    for (offset, length) in [(1, 4096), (0, 4095)] {
        let refused = client.write(offset, Bytes::from(vec![0; length])).await.expect_err("no whole blocks");
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
    client.write(4096, Bytes::from(vec![5; 1 << 20])).await.expect("whole blocks");
    assert!(client.read(4096, vec![9; 1 << 20]).await.expect("it reads") == vec![5; 1 << 20]);
    client.close().await;
}

/// Maps of an image with many holes, as libnbd and QEMU see them.
#[tokio::test(flavor = "multi_thread")]
async fn maps_are_those_of_other_clients() {
    let lab = Lab::new();
    let mut script = String::new();
    (0..500).for_each(|i| script.push_str(&format!("write -P {} {}k 64k\n", i % 255 + 1, i * 192)));
    run("qemu-img", &["create", "-q", "-f", "qcow2", &lab.arg("disk"), "100M"]);
    fs::write(lab.path("script"), script).expect("it can be written");
    run("sh", &["-c", &format!("qemu-io -f qcow2 {} < {} > /dev/null", lab.arg("disk"), lab.arg("script"))]);
    let file = format!("driver=qcow2,node-name=disk,file.driver=file,file.filename={}", lab.arg("disk"));
    let _server = storage_daemon(&lab, "s", &["--blockdev", &file, "--export", "type=nbd,id=e,node-name=disk,name=os"]);
    let client = Client::connect(&lab.socket("s"), "os", &[ALLOCATION], &Options::default()).await.expect("it connects");
    assert!(client.is_read_only());
    let ours = client.map(ALLOCATION, 0, client.size_bytes()).await.expect("it tells");
    let ours: Vec<(u64, u64)> = ours.iter().map(|run| (run.length, u64::from(run.flags))).collect();
    assert_eq!(ours, nbdinfo_map(&lab, "os", "s", ALLOCATION));
    assert!(ours.len() > 900);
    let denied = client.write(0, Bytes::from_static(b"x")).await.expect_err("it is read-only");
    assert_eq!(denied.kind(), ErrorKind::Denied);
    client.close().await;
}

/// Lengths and flags of the runs that `nbdinfo --map` tells of.
pub fn nbdinfo_map(lab: &Lab, export: &str, socket: &str, context: &str) -> Vec<(u64, u64)> {
    let url = format!("nbd+unix:///{export}?socket={}", lab.arg(socket));
    let told = run("nbdinfo", &["--json", &format!("--map={context}"), &url]);
    let told: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
    let number = |run: &serde_json::Value, name: &str| run[name].as_u64().expect("a number");
    let runs = told.as_array().expect("a list").iter();
    runs.map(|run| (number(run, "length"), number(run, "type"))).collect()
}
