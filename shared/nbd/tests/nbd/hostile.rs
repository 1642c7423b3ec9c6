//! Servers and clients that do not keep to the protocol, over streams in memory.

use std::time::Duration;

use stillpoint_model::{Error, ErrorKind};
use stillpoint_nbd::{Client, Exports, Options, ServeOptions, serve_stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const GREETING: &[u8] = b"NBDMAGICIHAVEOPT\0\x03";
const SIZE: u64 = 1 << 20;

fn option_reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let head = [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &option.to_be_bytes(), &kind.to_be_bytes()].concat();
    [head, (data.len() as u32).to_be_bytes().to_vec(), data.to_vec()].concat()
}

fn information(flags: u16) -> Vec<u8> {
    option_reply(7, 3, &[&[0, 0][..], &SIZE.to_be_bytes(), &flags.to_be_bytes()].concat())
}

/// What a server says until the first request, with one context of number 5.
fn negotiation() -> Vec<u8> {
    let context = option_reply(10, 4, b"\0\0\0\x05base:allocation");
    [GREETING.to_vec(), option_reply(8, 1, &[]), context, option_reply(10, 1, &[]), information(1), option_reply(7, 1, &[])]
        .concat()
}

fn chunk(flags: u16, kind: u16, cookie: u64, payload: &[u8]) -> Vec<u8> {
    let head = [&0x668e_33ef_u32.to_be_bytes()[..], &flags.to_be_bytes(), &kind.to_be_bytes(), &cookie.to_be_bytes()].concat();
    [head, (payload.len() as u32).to_be_bytes().to_vec(), payload.to_vec()].concat()
}

fn data(flags: u16, offset: u64, bytes: &[u8]) -> Vec<u8> {
    chunk(flags, 1, 1, &[&offset.to_be_bytes()[..], bytes].concat())
}

/// A server that has said all of this, whatever is asked. Its end is kept: it does not close.
async fn scripted(said: &[u8]) -> (DuplexStream, DuplexStream) {
    let (ours, mut theirs) = duplex(1 << 20);
    theirs.write_all(said).await.expect("there is room");
    (ours, theirs)
}

fn options() -> Options {
    Options { connect_deadline: Duration::from_secs(9), request_deadline: Duration::from_secs(9), ..Options::default() }
}

async fn connect(said: &[u8]) -> Result<(Client, DuplexStream), Error> {
    let (ours, theirs) = scripted(said).await;
    Ok((Client::over(ours, "memory", "os", &["base:allocation"], &options()).await?, theirs))
}

/// What comes of a read of 10 bytes at 100, the first request of a connection.
async fn read(reply: &[u8]) -> Result<Vec<u8>, Error> {
    let (client, _theirs) = connect(&[&negotiation(), reply].concat()).await.expect("it connects");
    client.read(100, vec![9; 10]).await
}

#[tokio::test(start_paused = true)]
async fn chunks_in_any_order_make_a_read() {
    let hole = chunk(0, 2, 1, &[&103_u64.to_be_bytes()[..], &3_u32.to_be_bytes()].concat());
    let reply = [data(0, 106, b"6789"), hole, data(0, 100, b"0"), data(0, 101, b"12"), chunk(1, 0, 1, &[])].concat();
    assert_eq!(read(&reply).await.expect("all is there"), b"012\0\0\x006789");
}

#[tokio::test(start_paused = true)]
async fn replies_that_break_the_protocol_are_told_of_and_end_the_connection() {
    let full = b"0123456789".as_slice();
    let cases = [
        ("nothing at all", chunk(1, 0, 1, &[])),
        ("a part", data(1, 100, b"01234")),
        ("twice", [data(0, 100, full), data(1, 100, b"0")].concat()),
        ("before", data(1, 99, full)),
        ("behind", data(1, 101, full)),
        ("far away", data(1, u64::MAX, full)),
        ("an empty chunk", data(1, 100, b"")),
        ("a cut chunk", chunk(1, 1, 1, b"1234")),
        ("a hole of nothing", chunk(1, 2, 1, &[&100_u64.to_be_bytes()[..], &[0; 4]].concat())),
        ("a large hole", chunk(1, 2, 1, &[&100_u64.to_be_bytes()[..], &[255; 4]].concat())),
        ("a hole with data", chunk(1, 2, 1, &[0; 13])),
        ("runs", chunk(1, 5, 1, &[0; 12])),
        ("a type that is not known", chunk(1, 77, 1, &[])),
        ("an endless chunk", [&chunk(1, 1, 1, &[])[..16], &[255; 4], &100_u64.to_be_bytes()].concat()),
        ("an endless error", [&chunk(1, 0x8001, 1, &[])[..16], &[255; 4]].concat()),
        ("an error without a number", chunk(1, 0x8001, 1, &[0; 6])),
        ("a cut error", chunk(1, 0x8001, 1, b"\0\0\0\x05\0\x09text")),
        ("another's reply", chunk(1, 1, 2, &[0; 18])),
        ("no structure", [b"\x67\x44\x66\x98\0\0\0\0\0\0\0\0\0\0\0\x01".as_slice(), full].concat()),
        ("noise", b"noise".to_vec()),
        ("nothing, not the last", chunk(0, 0, 1, &[])),
    ];
    for (what, reply) in cases {
        let error = read(&reply).await.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Internal, "{what}: {error}");
        assert!(error.one_line().starts_with("export 'os' of memory: the server breaks the protocol: "), "{what}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn errors_of_a_read_win_over_its_data_and_are_shown_escaped() {
    let said = [&[0, 0, 0, 28, 0, 9][..], b"disk\x1b[2J\n", &107_u64.to_be_bytes()].concat();
    let error = read(&[data(0, 100, b"012"), chunk(1, 0x8002, 1, &said)].concat()).await.expect_err("it fails");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.one_line(), "export 'os' of memory: at byte 107: server: no space (28): 'disk\\u{1b}[2J\\n'");
    let unknown = read(&chunk(1, 0x80ff, 1, &[&[0, 0, 0, 1, 0, 0][..], &[7; 50]].concat())).await.expect_err("it fails");
    assert_eq!(unknown.kind(), ErrorKind::Denied, "an error of a type that is not known");
}

#[tokio::test(start_paused = true)]
async fn runs_that_cannot_be_are_refused() {
    let status = async |runs: &[u32], context: u32| {
        let payload: Vec<u8> = [&[context], runs].concat().iter().flat_map(|number| number.to_be_bytes()).collect();
        let (client, _theirs) = connect(&[negotiation(), chunk(1, 5, 1, &payload)].concat()).await.expect("it connects");
        client.block_status("base:allocation", 0, 100).await
    };
    let longer = status(&[60, 0, 500, 3], 5).await.expect("the last may be longer");
    assert_eq!(longer.iter().map(|run| (run.length, run.flags)).collect::<Vec<_>>(), [(60, 0), (40, 3)]);
    for (runs, context) in [(&[0, 0][..], 5), (&[100, 0, 1, 0], 5), (&[60, 0, 0, 0, 40, 0], 5), (&[100, 0], 6), (&[], 5)] {
        assert_eq!(status(runs, context).await.expect_err("it cannot be").kind(), ErrorKind::Internal, "{runs:?} {context}");
    }
}

#[tokio::test(start_paused = true)]
async fn negotiations_that_cannot_be_are_refused() {
    let go = |replies: Vec<u8>| [&negotiation()[..18 + 20 + 20 + 19 + 20], &replies].concat();
    let blocks = |sizes: [u32; 3]| {
        let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_be_bytes()).collect();
        option_reply(7, 3, &[&[0, 3][..], &sizes].concat())
    };
    let contexts = |replies: &[u8]| [GREETING, &option_reply(8, 1, &[]), replies].concat();
    let context = option_reply(10, 4, b"\0\0\0\x05base:allocation");
    let cases = [
        (ErrorKind::Invalid, b"SSH-2.0-OpenSSH_9.2p1".to_vec()),
        (ErrorKind::Invalid, b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53\0\0".to_vec()),
        (ErrorKind::Internal, [GREETING, &[7; 20]].concat()),
        (ErrorKind::Internal, [GREETING, &option_reply(7, 1, &[])].concat()),
        (ErrorKind::Internal, [GREETING, &option_reply(8, 1, &[])[..16], &[255; 4]].concat()),
        (ErrorKind::Internal, contexts(&option_reply(10, 4, b"\0\0\0\x05base:allocatioN"))),
        (ErrorKind::Internal, contexts(&[context.clone(), context].concat())),
        (ErrorKind::Internal, contexts(&option_reply(10, 4, b"\0\0"))),
        (ErrorKind::Internal, go(option_reply(7, 1, &[]))),
        (ErrorKind::Internal, go([information(0), option_reply(7, 1, &[])].concat())),
        (ErrorKind::Internal, go(option_reply(7, 3, &[0, 0, 1]))),
        (ErrorKind::Internal, go(blocks([0, 4096, 4096]))),
        (ErrorKind::Internal, go(blocks([3, 4096, 4096]))),
        (ErrorKind::Internal, go(blocks([1 << 20, 1 << 20, 1 << 20]))),
        (ErrorKind::Internal, go(blocks([512, 4096, 256]))),
        (ErrorKind::Internal, go(information(1).repeat(1100))),
        (ErrorKind::Missing, go(option_reply(7, 1 << 31 | 6, b"none"))),
        (ErrorKind::Denied, go(option_reply(7, 1 << 31 | 2, b"none"))),
        (ErrorKind::Denied, go(option_reply(7, 1 << 31 | 5, b"none"))),
        (ErrorKind::Invalid, go(option_reply(7, 1 << 31 | 1, b""))),
        (ErrorKind::Unavailable, go(option_reply(7, 1 << 31 | 7, b"none"))),
        // It says no more.
        (ErrorKind::Unavailable, go(information(1))),
        (ErrorKind::Unavailable, b"NBDM".to_vec()),
    ];
    for (index, (kind, said)) in cases.iter().enumerate() {
        let error = connect(said).await.err().expect("it cannot be");
        assert_eq!(error.kind(), *kind, "{index}: {error}");
    }
    let long = "x".repeat(4097);
    let (ours, _theirs) = duplex(10);
    let refused = Client::over(ours, "memory", &long, &[], &options()).await.err().expect("too long a name");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn wherever_a_server_stops_talking_the_client_does_not_hang() {
    let said = [negotiation(), data(1, 100, b"0123456789")].concat();
    for length in 0..said.len() {
        for closes in [true, false] {
            let (ours, theirs) = scripted(&said[..length]).await;
            let theirs = (!closes).then_some(theirs);
            let error = match Client::over(ours, "memory", "os", &["base:allocation"], &options()).await {
                Err(error) => error,
                Ok(client) => client.read(100, vec![9; 10]).await.expect_err("it is cut short"),
            };
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{length}: {error}");
            drop(theirs);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_left() {
    let (ours, mut theirs) = duplex(1 << 10);
    let error = serve_stream(ours, &Exports::new(), &ServeOptions::default()).await.expect_err("it waits no longer");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let mut said = Vec::new();
    theirs.read_to_end(&mut said).await.expect("it is closed");
    assert_eq!(said, GREETING);
}
