//! Map pages, authentic ones: what lies inside the seal is what changes.

use std::sync::Arc;

use stillpoint_format::{ChunkEntry, ChunkId, FrameRef, MapPage, PackRef};
use stillpoint_vault::{ChunkRead, FramePool};

use super::{Memory, Target};
use crate::{
    attempt::Outcome,
    sealing::{keys, pack},
};

pub const PAGE: Target = Target {
    name: "page",
    is_text: false,
    bytes_max: 256 * 1024,
    inputs: 5_000,
    memory: Memory::Fixed(16 << 20),
    seeds: || vec![small(), page(0, 0, 0), page(3, 20, 100), page(1, 512, 512)],
    check,
};

fn check(input: &[u8]) -> Outcome {
    let page = MapPage::decode(&pack(), input).map_err(|error| error.to_string())?;
    let again = page.encode().expect("what was read can be written");
    assert_eq!(MapPage::decode(&pack(), &again).as_ref(), Ok(&page));
    for entry in page.entries.iter().flatten() {
        let (frame, _) = page.locate(entry);
        assert!(entry.place < frame.chunks);
    }
    let reads = ChunkRead::plan(&page, 0..page.entries.len());
    let (keys, pool) = (keys(), Arc::<FramePool>::default());
    for read in &reads {
        // Never what the page says: nobody sealed it.
        let refusal = read.decode(&keys, input, &pool).expect_err("these bytes are no frames");
        assert!(!refusal.one_line().contains('\n'));
    }
    Ok(format!("{} packs, {} reads", page.packs.len().min(3), reads.len().min(3)))
}

pub fn small() -> Vec<u8> {
    page(2, 3, 8)
}

fn page(packs: u16, frames: u16, entries: u16) -> Vec<u8> {
    let other = |n: u16| PackRef { name: format!("packs/db-01/{n}").into(), salt: [n as u8; 16] };
    let frame = |n: u16| FrameRef {
        pack: n % (packs + 1),
        number: n.into(),
        offset: 40 + u32::from(n) * 9_000,
        sealed_bytes: 9_000,
        chunks: 16,
    };
    let entry = |n: u16| {
        let chunk = || ChunkEntry { frame: n % frames, place: (n / frames % 16) as u8, id: ChunkId([n as u8; 32]) };
        (!n.is_multiple_of(5)).then(chunk)
    };
    let page = MapPage {
        disk: "os".parse().expect("a name"),
        number: 7,
        packs: std::iter::once(pack()).chain((0..packs).map(other)).collect(),
        frames: (0..frames).map(frame).collect(),
        entries: (0..entries).map(entry).collect(),
    };
    page.encode().expect("a page within its limits")
}
