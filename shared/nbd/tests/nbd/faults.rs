//! Servers that fail.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use stillpoint_model::{ErrorKind, Result};
use stillpoint_nbd::{Client, Export, Exports, Options, ServeOptions, serve_stream};

use crate::{
    disk::{Memory, Serving},
    servers::{Lab, nbdkit, qemu_nbd},
};

async fn client(lab: &Lab) -> Client {
    Client::connect(&lab.socket("s"), "", &["base:allocation"], &Options::default()).await.expect("it connects")
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_a_server_have_the_kind_of_their_number() {
    for (error, kind, text) in [
        ("EIO", ErrorKind::Unavailable, "input/output error (5)"),
        ("ENOSPC", ErrorKind::Unavailable, "no space (28)"),
        ("EPERM", ErrorKind::Denied, "not permitted (1)"),
        ("EINVAL", ErrorKind::Invalid, "invalid request (22)"),
        ("ESHUTDOWN", ErrorKind::Unavailable, "shutting down (108)"),
    ] {
        let lab = Lab::new();
        let error = format!("error={error}");
        let _server = nbdkit(
            &lab,
            "s",
            &["--filter=error", "memory", "8M", &error, "error-rate=0", "error-pwrite-rate=1", "error-pread-rate=1"],
        );
        let client = client(&lab).await;
        for refused in [client.write(0, Bytes::from_static(b"x")).await, client.read(0, vec![0; 10]).await.map(|_| ())] {
            let refused = refused.expect_err("every request fails");
            assert_eq!(refused.kind(), kind, "{refused}");
            assert!(refused.one_line().contains(text), "{refused}");
        }
        // Nothing is wrong with the connection.
        client.map("base:allocation", 0, 1 << 20).await.expect("it tells");
        client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fails_in_the_middle_of_a_read_is_told_with_its_words() {
    let lab = Lab::new();
    let mut bytes = vec![0; 64 << 20];
    bytes[(39 << 20)..(41 << 20)].fill(1);
    let server =
        Serving::start(&lab.socket("s"), &[("os", Memory::with_a_bad_byte(bytes.clone(), 40 << 20))], ServeOptions::default())
            .await;
    let client = client(&lab).await;
    let failed = client.read(30 << 20, vec![0; 20 << 20]).await.expect_err("a sector is bad");
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    assert!(failed.one_line().ends_with("input/output error (5): 'a sector is bad'"), "{failed}");
    assert!(client.read((40 << 20) + 1, vec![9; 20 << 20]).await.expect("behind it") == bytes[(40 << 20) + 1..(60 << 20) + 1]);
    client.close().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_fails_what_waits_and_what_follows() {
    let lab = Lab::new();
    // Each read takes longer than this test.
    let server = nbdkit(&lab, "s", &["--filter=delay", "memory", "8M", "rdelay=1000"]);
    let client = Arc::new(client(&lab).await);
    let read = |offset| {
        let client = client.clone();
        tokio::spawn(async move { client.read(offset, vec![0; 10]).await })
    };
    let mut waiting: Vec<_> = (0..10).map(read).collect();
    client.write(0, Bytes::from_static(b"x")).await.expect("it writes");
    // More than may be under way.
    waiting.extend((0..20).map(read));
    server.kill();
    for read in waiting {
        let lost = read.await.expect("it does not panic").expect_err("the server is dead");
        assert_eq!(lost.kind(), ErrorKind::Unavailable);
        let begin = format!("export '' of {}: the ", lab.socket("s"));
        assert!(lost.one_line().starts_with(&begin), "{}", lost.one_line());
    }
    assert_eq!(client.flush().await.expect_err("it is dead").kind(), ErrorKind::Unavailable);
    let again = Client::connect(&lab.socket("s"), "", &[], &Options::default()).await.err().expect("nobody listens");
    assert_eq!(again.kind(), ErrorKind::Unavailable);
}

/// An export with a bug.
struct Buggy;

#[async_trait]
impl Export for Buggy {
    fn size_bytes(&self) -> u64 {
        1 << 20
    }

    async fn read(&self, _offset: u64, _length: usize) -> Result<Bytes> {
        panic!("a bug")
    }
}

#[tokio::test]
async fn a_client_does_not_wait_for_an_export_that_panicked() {
    let (ours, theirs) = tokio::io::duplex(1 << 10);
    let exports = Exports::from([("os".to_owned(), Arc::new(Buggy) as Arc<dyn Export>)]);
    let served = tokio::spawn(async move { serve_stream(theirs, &exports, &ServeOptions::default()).await });
    let client = Client::over(ours, "memory", "os", &[], &Options::default()).await.expect("it connects");
    assert_eq!(client.read(0, vec![0; 10]).await.expect_err("there is a bug").kind(), ErrorKind::Unavailable);
    assert_eq!(served.await.expect("the server goes on").expect_err("it says so").kind(), ErrorKind::Internal);
}

#[tokio::test(flavor = "multi_thread")]
async fn futures_that_are_dropped_leave_the_connection_whole() {
    let lab = Lab::new();
    let bytes = lab.image("disk", 16);
    let _server = qemu_nbd(&lab, "disk", "s", &[]);
    let client = client(&lab).await;
    for i in 0..200 {
        // Polled once: sent, and given up.
        let read = client.read(i, vec![0; 1 << 20]);
        tokio::select! { biased; _ = read => {} () = std::future::ready(()) => {} }
    }
    assert!(client.read(0, vec![9; 16 << 20]).await.expect("it reads") == bytes);
    client.close().await;
}
