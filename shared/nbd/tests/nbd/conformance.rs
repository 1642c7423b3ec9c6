//! What holds for our client with every server.

use bytes::Bytes;
use stillpoint_model::ErrorKind;
use stillpoint_nbd::{Address, Client, Options, Run, ZERO};

pub const ALLOCATION: &str = "base:allocation";

/// What a server can do.
#[derive(Clone, Copy)]
pub struct Abilities {
    pub several_connections: bool,
    /// Whether holes of the image are seen.
    pub holes: bool,
}

/// Checks a server of a writable image whose bytes are `expected`; afterwards they are what it returns.
pub async fn check(address: &Address, export: &str, expected: Vec<u8>, abilities: Abilities) -> Vec<u8> {
    check_with(address, export, expected, abilities, &Options { connections: 3, ..Options::default() }).await
}

/// The same, over three connections of other settings.
pub async fn check_with(address: &Address, export: &str, expected: Vec<u8>, abilities: Abilities, options: &Options) -> Vec<u8> {
    let client = Client::connect(address, export, &[ALLOCATION, "x-none:of-this"], options).await.expect("it connects");
    assert_eq!(client.size_bytes(), expected.len() as u64);
    assert_eq!(client.connections(), if abilities.several_connections { 3 } else { 1 });
    assert!(!client.is_read_only());
    assert!(client.has_context(ALLOCATION) && !client.has_context("x-none:of-this"));
    reads(&client, &expected).await;
    map(&client, &expected, abilities).await;
    refusals(&client).await;
    let written = writes(&client, expected).await;
    client.close().await;
    let again = Client::connect(address, export, &[], options).await.expect("it connects again");
    assert!(again.read(0, vec![1; written.len()]).await.expect("it reads") == written, "what was written is there");
    let none = again.block_status(ALLOCATION, 0, 1).await.expect_err("no context was asked for");
    assert_eq!(none.kind(), ErrorKind::Missing);
    again.close().await;
    written
}

async fn reads(client: &Client, expected: &[u8]) {
    let size = expected.len();
    let all = client.read(0, vec![9; size]).await.expect("it reads");
    assert!(all == expected, "all of it");
    let ranges = [(0, 0), (size, 0), (0, 1), (size - 1, 1), (1, 511), (size / 4 - 70_000, 140_001), (size / 2 - 5, 10)];
    for (start, length) in ranges {
        let read = client.read(start as u64, vec![9; length]).await.expect("it reads");
        assert!(read == expected[start..start + length], "{length} bytes at {start}");
    }
    let step = size / 64;
    let many = (0..64).map(|i| client.read((i * step) as u64, vec![9; step]));
    for (i, read) in futures_util::future::join_all(many).await.into_iter().enumerate() {
        assert!(read.expect("it reads") == expected[i * step..(i + 1) * step], "part {i} of 64");
    }
}

/// What is called zero is zero, and where holes are seen nothing else is.
async fn map(client: &Client, expected: &[u8], abilities: Abilities) {
    let runs = client.map(ALLOCATION, 0, client.size_bytes()).await.expect("it tells");
    assert_eq!(runs.iter().map(|run| run.length).sum::<u64>(), client.size_bytes());
    let mut start = 0;
    for Run { length, flags } in &runs {
        let end = start + *length as usize;
        let is_zero = expected[start..end].iter().all(|byte| *byte == 0);
        assert!(flags & ZERO == 0 || is_zero, "{start}..{end} is not zero");
        assert!(!abilities.holes || is_zero == (flags & ZERO != 0), "{start}..{end} is not told of rightly");
        start = end;
    }
    let part = client.map(ALLOCATION, 4097, 3 << 20).await.expect("it tells of a part");
    assert_eq!(part.iter().map(|run| run.length).sum::<u64>(), 3 << 20);
}

async fn refusals(client: &Client) {
    let size = client.size_bytes();
    for (offset, length) in [(size, 1), (size - 1, 2), (u64::MAX, 1), (u64::MAX - 1, 2)] {
        let past = [
            client.read(offset, vec![0; length]).await.map(|_| ()),
            client.write(offset, Bytes::from(vec![0; length])).await,
            client.write_zeroes(offset, length as u64, true).await,
            client.trim(offset, length as u64).await,
            client.block_status(ALLOCATION, offset, length as u64).await.map(|_| ()),
            client.map(ALLOCATION, offset, length as u64).await.map(|_| ()),
        ];
        for refused in past {
            assert_eq!(refused.expect_err("it lies beyond the end").kind(), ErrorKind::Invalid);
        }
    }
}

async fn writes(client: &Client, mut expected: Vec<u8>) -> Vec<u8> {
    let size = expected.len();
    for (start, length, byte) in [(0, 1, 1), (size / 4 + 1, 70_001, 2), (size - 3, 3, 3)] {
        client.write(start as u64, Bytes::from(vec![byte; length])).await.expect("it writes");
        expected[start..start + length].fill(byte);
    }
    let step = 10_000;
    let writes = (0..50).map(|i| client.write(i * step, Bytes::from(vec![i as u8; step as usize])));
    futures_util::future::join_all(writes).await.into_iter().for_each(|written| written.expect("it writes"));
    for i in 0..50 {
        expected[i * step as usize..(i + 1) * step as usize].fill(i as u8);
    }
    for (start, length, may_punch) in [(3, 100_000, true), (size / 2, 2 << 20, false), (size / 2 + (4 << 20), 1 << 20, true)] {
        client.write_zeroes(start as u64, length as u64, may_punch).await.expect("it writes zeroes");
        expected[start..start + length].fill(0);
    }
    client.trim(size as u64 / 4 * 3, 1 << 20).await.expect("it trims");
    client.flush().await.expect("it flushes");
    assert!(client.read(0, vec![9; size]).await.expect("it reads") == expected, "what was written is read");
    expected
}
