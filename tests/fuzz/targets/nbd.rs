//! What servers of disks say to our client, and clients to our server.

use std::{collections::BTreeMap, io::Cursor, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use stillpoint_model::{Error, ErrorKind, Result};
use stillpoint_nbd::{Client, Export, Options, Run, ServeOptions, ZERO, serve_stream};
use tokio::runtime::{Builder, Runtime};

use super::{Memory, Target};
use crate::attempt::Outcome;

const DISK_BYTES: u64 = 1 << 20;
const ALLOCATION: &str = "base:allocation";

pub const REPLIES: Target = Target {
    name: "nbd_replies",
    is_text: false,
    bytes_max: 4096,
    inputs: 4_000,
    memory: Memory::Fixed(2 << 20),
    seeds: replies,
    check: be_answered,
};

pub const REQUESTS: Target = Target {
    name: "nbd_requests",
    is_text: false,
    bytes_max: 4096,
    inputs: 4_000,
    // A client may announce that it writes; a MiB is taken before any of that has come, and what a read takes comes on top.
    memory: Memory::Fixed(5 << 20),
    seeds: requests,
    check: be_asked,
};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime can be made")
}

/// Numbers and texts of a message, one after the other.
macro_rules! message {
    ($($part:expr),* $(,)?) => {{
        let mut message: Vec<u8> = Vec::new();
        $(message.extend_from_slice(&$part.wire());)*
        message
    }};
}

trait Wire {
    fn wire(&self) -> Vec<u8>;
}

macro_rules! wire {
    ($($number:ty),*) => {
        $(impl Wire for $number {
            fn wire(&self) -> Vec<u8> {
                self.to_be_bytes().to_vec()
            }
        })*
    };
}

wire!(u16, u32, u64);

impl Wire for &str {
    fn wire(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Wire for Vec<u8> {
    fn wire(&self) -> Vec<u8> {
        self.clone()
    }
}

fn option_reply(option: u32, kind: u32, data: Vec<u8>) -> Vec<u8> {
    message![0x0003_e889_0455_65a9_u64, option, kind, data.len() as u32, data]
}

fn chunk(flags: u16, kind: u16, cookie: u64, data: Vec<u8>) -> Vec<u8> {
    message![0x668e_33ef_u32, flags, kind, cookie, data.len() as u32, data]
}

/// Conversations of servers with [`be_answered`]: with and without structure, with errors, in another order, and refusals.
fn replies() -> Vec<Vec<u8>> {
    let greeting = "NBDMAGICIHAVEOPT\0\x03";
    let export = option_reply(7, 3, message![0_u16, DISK_BYTES, 0x0161_u16]);
    let blocks = option_reply(7, 3, message![3_u16, 1_u32, 4096_u32, 1_u32 << 25]);
    let go = message![export, blocks, option_reply(7, 1, Vec::new())];
    let context = option_reply(10, 4, message![5_u32, ALLOCATION]);
    let begun = message![greeting, option_reply(8, 1, Vec::new()), context, option_reply(10, 1, Vec::new()), go];
    let data = message![
        chunk(0, 1, 1, message![100_u64, "01234"]),
        chunk(0, 2, 1, message![105_u64, 3_u32]),
        chunk(1, 1, 1, message![108_u64, "89"]),
    ];
    let runs = chunk(1, 5, 2, message![5_u32, 60_u32, 0_u32, 100_u32, 3_u32]);
    let simple = |cookie: u64, errno: u32| message![0x6744_6698_u32, errno, cookie];
    let error = |cookie| chunk(1, 0x8001, cookie, message![28_u32, 4_u16, "full"]);
    let at = chunk(1, 0x8002, 1, message![5_u32, 3_u16, "bad", 107_u64]);
    let old = message![greeting, option_reply(8, (1 << 31) | 1, Vec::new()), go];
    vec![
        message![begun, data, runs, simple(3, 0)],
        message![begun, simple(3, 0), runs, data],
        message![begun, at, error(2), error(3)],
        message![begun, chunk(1, 0, 3, Vec::new()), chunk(1, 1, 1, message![100_u64, "0123456789"]), runs],
        message![old, simple(1, 0), "0123456789", simple(2, 22), simple(3, 1)],
        message![greeting, option_reply(8, (1 << 31) | 5, message!["TLS first"])],
    ]
}

/// A client that reads, asks and writes at the same time, and hears the input.
fn be_answered(input: &[u8]) -> Outcome {
    let heard = tokio::io::join(Cursor::new(input.to_vec()), tokio::io::sink());
    let outcome = runtime().block_on(async {
        let client = Client::over(heard, "memory", "os", &[ALLOCATION], &Options::default()).await?;
        let (read, status, written) = tokio::join!(
            client.read(100, vec![9; 10]),
            client.block_status(ALLOCATION, 0, 100),
            client.write(0, Bytes::from_static(b"text")),
        );
        if let Ok(runs) = &status {
            let told: u64 = runs.iter().map(|run| run.length).sum();
            assert!((1..=100).contains(&told), "{told} bytes of 100 are told of");
        }
        if let Ok(bytes) = &read {
            assert_eq!(bytes.len(), 10, "a read is as long as its buffer");
        }
        let results = [read.map(|_| ()), status.map(|_| ()), written];
        let done = results.iter().filter(|result| result.is_ok()).count();
        match results.into_iter().find_map(Result::err) {
            Some(error) => Err(error),
            None => Ok(format!("{done}")),
        }
    });
    outcome.map_err(|error: Error| {
        let line = error.one_line();
        assert!(!line.contains("without a reason"), "the task of a connection panicked");
        line
    })
}

/// A disk of nothing but zeroes, the first half of which is told of as such.
struct Zeroes;

#[async_trait]
impl Export for Zeroes {
    fn size_bytes(&self) -> u64 {
        DISK_BYTES
    }

    fn is_read_only(&self) -> bool {
        false
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        assert!(offset.checked_add(length as u64).is_some_and(|end| end <= DISK_BYTES), "a read inside the disk");
        Ok(Bytes::from(vec![0; length]))
    }

    async fn block_status(&self, offset: u64, length: u64) -> Result<Vec<Run>> {
        assert!(offset.checked_add(length).is_some_and(|end| end <= DISK_BYTES), "a question inside the disk");
        let zero = (DISK_BYTES / 2).saturating_sub(offset).min(length);
        Ok(vec![Run::new(zero, ZERO), Run::new(length - zero, 0)])
    }

    async fn write(&self, offset: u64, data: Bytes) -> Result<()> {
        assert!(offset.checked_add(data.len() as u64).is_some_and(|end| end <= DISK_BYTES), "a write inside the disk");
        Ok(())
    }

    async fn write_zeroes(&self, offset: u64, length: u64, _may_punch: bool) -> Result<()> {
        assert!(offset.checked_add(length).is_some_and(|end| end <= DISK_BYTES), "zeroes inside the disk");
        Ok(())
    }
}

fn option(number: u32, data: Vec<u8>) -> Vec<u8> {
    message!["IHAVEOPT", number, data.len() as u32, data]
}

/// Conversations of clients: what QEMU says, what old ones do, and every option and request there is.
fn requests() -> Vec<Vec<u8>> {
    let request =
        |flags: u16, command: u16, offset: u64, length: u32| message![0x2560_9513_u32, flags, command, 77_u64, offset, length];
    let name = message![2_u32, "os"];
    let contexts = |number, count: u32| option(number, message![name, count, ALLOCATION.len() as u32, ALLOCATION]);
    let go = |number| option(number, message![name, 1_u16, 3_u16]);
    let begun = message![3_u32, option(8, Vec::new()), contexts(10, 1), go(7)];
    let all = message![
        request(0, 0, DISK_BYTES / 2 - 512, 4096),
        request(4, 0, DISK_BYTES / 2 - 512, 4096),
        request(0, 1, 512, 4),
        "text",
        request(1, 1, 512, 4),
        "text",
        request(0, 3, 0, 0),
        request(0, 4, 0, 1 << 16),
        request(2, 6, 0, 1 << 16),
        request(8, 7, 0, 1 << 20),
        request(0, 7, 0, 1 << 20),
        request(0, 0, DISK_BYTES, 1),
        request(0, 9, 0, 0),
        request(0, 2, 0, 0),
    ];
    vec![
        message![begun, all],
        message![3_u32, option(3, Vec::new()), contexts(9, 1), option(9, message![name, 0_u32]), go(6), option(2, Vec::new())],
        message![0_u32, option(1, message!["os"]), request(0, 0, 3, 600), request(0, 2, 0, 0)],
        message![1_u32, option(5, Vec::new()), option(99, message!["what"]), go(7), request(0, 1, 0, 1 << 25)],
    ]
}

/// A server that hears the input.
fn be_asked(input: &[u8]) -> Outcome {
    let heard = tokio::io::join(Cursor::new(input.to_vec()), tokio::io::sink());
    let exports = BTreeMap::from([("os".to_owned(), Arc::new(Zeroes) as Arc<dyn Export>)]);
    let served = runtime().block_on(serve_stream(heard, &exports, &ServeOptions::default()));
    served.map(|()| String::new()).map_err(|error| {
        assert_ne!(error.kind(), ErrorKind::Internal, "{}", error.one_line());
        error.one_line()
    })
}
