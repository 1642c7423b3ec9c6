//! Our server against clients of others.

use std::{fs, sync::atomic::Ordering};

use stillpoint_model::ErrorKind;
use stillpoint_nbd::{Address, Listener, ServeOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::{
    client::nbdinfo_map,
    disk::{Memory, Serving},
    servers::{Lab, image_bytes, run},
};

/// Runs a command while the server goes on.
async fn command(program: &'static str, args: &[&str]) -> String {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let output = tokio::task::spawn_blocking(move || run(program, &args.iter().map(String::as_str).collect::<Vec<_>>()));
    output.await.expect("it succeeds")
}

fn url(lab: &Lab, export: &str) -> String {
    format!("nbd+unix:///{export}?socket={}", lab.arg("s"))
}

#[tokio::test(flavor = "multi_thread")]
async fn others_read_a_read_only_export() {
    let lab = Lab::new();
    let bytes = lab.image("disk", 64);
    let exports = [("os", Memory::new(bytes.clone(), true)), ("data", Memory::new(image_bytes(1 << 20), true))];
    let server = Serving::start(&lab.socket("s"), &exports, ServeOptions::default()).await;
    let (url, disk, copy) = (url(&lab, "os"), lab.arg("disk"), lab.arg("copy"));
    let told = command("qemu-img", &["compare", "-f", "raw", "-F", "raw", &disk, &url]).await;
    assert!(told.contains("Images are identical"), "{told}");
    command("qemu-img", &["convert", "-f", "raw", "-O", "raw", &url, &copy]).await;
    assert!(fs::read(&copy).expect("it is there") == bytes);
    command("nbdcopy", &["--connections=4", &url, &copy]).await;
    assert!(fs::read(&copy).expect("it is there") == bytes);
    let map = command("qemu-img", &["map", "--output=json", "-f", "raw", &url]).await;
    let map: serde_json::Value = serde_json::from_str(&map).expect("it is JSON");
    let map: Vec<(u64, bool)> = map
        .as_array()
        .expect("a list")
        .iter()
        .map(|run| (run["length"].as_u64().expect("a number"), run["zero"] == true))
        .collect();
    assert_eq!(map, [(16 << 20, false), (16 << 20, true), (16 << 20, false), (16 << 20, true)]);
    let seen = tokio::task::spawn_blocking(move || nbdinfo_map(&lab, "os", "s", "base:allocation")).await.expect("it tells");
    assert_eq!(seen, [(16 << 20, 0), (16 << 20, 3), (16 << 20, 0), (16 << 20, 3)]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn libnbd_is_told_what_there_is() {
    let lab = Lab::new();
    let exports = [("os", Memory::new(image_bytes(1 << 20), true)), ("data", Memory::new(image_bytes(2 << 20), false))];
    let server = Serving::start(&lab.socket("s"), &exports, ServeOptions::default()).await;
    let told = command("nbdinfo", &["--json", "--list", &url(&lab, "")]).await;
    let told: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
    assert_eq!((&told["protocol"], &told["structured"]), (&"newstyle-fixed".into(), &true.into()));
    let exports = told["exports"].as_array().expect("a list");
    let about = |export: &serde_json::Value| {
        let flags = ["is_read_only", "can_multi_conn", "can_df", "can_flush", "can_fua", "can_trim", "can_zero"];
        assert_eq!(export["contexts"], serde_json::json!(["base:allocation"]));
        let flags: Vec<bool> = flags.iter().map(|flag| export[flag] == true).collect();
        (export["export-name"].as_str().expect("a name").to_owned(), export["export-size"].as_u64(), flags)
    };
    let expected = [
        ("data".to_owned(), Some(2 << 20), vec![false, true, true, true, true, true, true]),
        ("os".to_owned(), Some(1 << 20), vec![true, true, true, false, false, false, false]),
    ];
    assert_eq!(exports.iter().map(about).collect::<Vec<_>>(), expected);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_write_a_writable_export() {
    let lab = Lab::new();
    let bytes = lab.image("disk", 16);
    let target = Memory::new(vec![7; 16 << 20], false);
    let server = Serving::start(&lab.socket("s"), &[("os", target.clone())], ServeOptions::default()).await;
    let (url, disk) = (url(&lab, "os"), lab.arg("disk"));
    command("nbdcopy", &["--flush", &disk, &url]).await;
    assert!(target.bytes() == bytes && target.flushes.load(Ordering::SeqCst) > 0);
    let commands =
        ["-c", "write -P 9 100k 10k", "-c", "write -z 1M 1M", "-c", "write -f -P 8 3M 1k", "-c", "discard 8M 1M", "-c", "flush"];
    command("qemu-io", &[&["-f", "raw"][..], &commands, &[&url]].concat()).await;
    let mut expected = bytes;
    expected[100 << 10..110 << 10].fill(9);
    expected[1 << 20..2 << 20].fill(0);
    expected[3 << 20..(3 << 20) + 1024].fill(8);
    assert!(target.bytes() == expected);
    command("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", &disk, &url]).await;
    assert!(target.bytes() == fs::read(&disk).expect("it is there"));
    server.stop().await;
}

/// Clients from before `NBD_OPT_GO`, whose replies have no structure.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_is_served() {
    let lab = Lab::new();
    let bytes = image_bytes(1 << 20);
    let server = Serving::start(&lab.socket("s"), &[("os", Memory::new(bytes.clone(), true))], ServeOptions::default()).await;
    let mut stream = UnixStream::connect(lab.path("s")).await.expect("it connects");
    let mut greeting = [0; 18];
    stream.read_exact(&mut greeting).await.expect("a greeting");
    assert_eq!(&greeting[..16], b"NBDMAGICIHAVEOPT");
    stream.write_all(b"\0\0\0\x01IHAVEOPT\0\0\0\x01\0\0\0\x02os").await.expect("sent");
    let mut export = [9; 8 + 2 + 124];
    stream.read_exact(&mut export).await.expect("an export");
    assert_eq!((&export[..8], &export[10..]), (&(1_u64 << 20).to_be_bytes()[..], &[0; 124][..]));
    // A read of 600,000 bytes at 3, and one that is refused.
    stream.write_all(b"\x25\x60\x95\x13\0\0\0\0cookie-1\0\0\0\0\0\0\0\x03\0\x09\x27\xc0").await.expect("sent");
    let mut reply = vec![9; 16 + 600_000];
    stream.read_exact(&mut reply).await.expect("a reply");
    assert_eq!(&reply[..16], b"\x67\x44\x66\x98\0\0\0\0cookie-1");
    assert!(reply[16..] == bytes[3..600_003]);
    stream.write_all(b"\x25\x60\x95\x13\0\0\0\0cookie-2\0\0\0\0\0\x10\0\0\0\0\0\x01").await.expect("sent");
    stream.read_exact(&mut reply[..16]).await.expect("a reply");
    assert_eq!(&reply[..16], b"\x67\x44\x66\x98\0\0\0\x16cookie-2");
    server.stop().await;
    assert_eq!(stream.read(&mut reply).await.expect("it is closed"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_taken_once_and_goes_with_its_server() {
    let lab = Lab::new();
    let address = lab.socket("s");
    let server = Serving::start(&address, &[], ServeOptions::default()).await;
    let taken = Listener::bind(&address).await.err().expect("somebody listens");
    assert_eq!(taken.kind(), ErrorKind::Conflict, "{taken}");
    server.stop().await;
    assert!(!lab.path("s").exists());
    // What a killed server leaves behind.
    drop(std::os::unix::net::UnixListener::bind(lab.path("s")).expect("it listens"));
    drop(Listener::bind(&address).await.expect("nobody listens"));
    fs::write(lab.path("s"), "text").expect("it can be written");
    assert_eq!(Listener::bind(&address).await.err().expect("no socket").kind(), ErrorKind::Conflict);
    assert_eq!(fs::read(lab.path("s")).expect("it is there"), b"text");
    let long = Address::unix(format!("/{}", "s".repeat(107))).expect_err("too long");
    assert!(long.one_line().contains("108 bytes long; sockets have at most 107"), "{long}");
}
