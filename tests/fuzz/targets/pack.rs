//! Packs: as the store gives them back, and as a writer with the key could seal them.

use std::{collections::HashSet, sync::LazyLock};

use stillpoint_format::{
    COMPRESSION_LEVEL_DEFAULT, FrameKind, HEADER_BYTES, Header, Index, MapPage, PackBuilder, PackKey, PackRef, TRAILER_BYTES,
    Trailer, compress, digest, limits,
};

use super::{Memory, Target, page};
use crate::{
    attempt::Outcome,
    sealing::{INDEX, Sealed, join, keys, pack, raw, seal, split},
};

pub const OBJECT: Target = Target {
    name: "pack",
    is_text: false,
    bytes_max: 64 * 1024,
    inputs: 2_000,
    memory: Memory::Fixed(64 << 20),
    seeds: objects,
    check: |input| read(input, &mut |_, plain| assert!(GENUINE.contains(&digest(plain)), "a frame opened that nobody sealed")),
};

/// The plain index, then the containers of the frames.
pub const SEALED: Target = Target {
    name: "pack_of_a_writer",
    is_text: false,
    bytes_max: 64 * 1024,
    inputs: 2_000,
    memory: Memory::Fixed(64 << 20),
    seeds: || objects().iter().map(|object| unsealed(object)).collect(),
    check: |input| read(&sealed(input), &mut |_, _| ()),
};

/// What is in the frames of the seeds.
static GENUINE: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let mut genuine = HashSet::new();
    for object in objects() {
        read(&object, &mut |_, plain| genuine.extend([digest(plain)])).expect("a seed is sound");
    }
    genuine
});

/// Reads a pack as verification does: its ends, its index, each frame, each page.
fn read(object: &[u8], found: &mut dyn FnMut(FrameKind, &[u8])) -> Outcome {
    let refused = |error: stillpoint_format::Error| error.to_string();
    let header = Header::decode(object.get(..HEADER_BYTES).unwrap_or(object)).map_err(refused)?;
    let end = object.len().saturating_sub(TRAILER_BYTES);
    let trailer = Trailer::decode(&object[end..]).map_err(refused)?;
    let start = end.checked_sub(trailer.index_bytes as usize).ok_or("the pack is shorter than its index")?;
    let key = PackKey::new(&keys(), &PackRef { salt: header.salt, ..pack() });
    let index = Index::open(&key, &object[start..end]).map_err(refused)?;
    assert!(index.0.len() <= limits::PACK_FRAMES_MAX);
    let mut faults = HashSet::new();
    for (number, entry) in index.0.iter().enumerate() {
        let place = entry.offset as usize..(entry.offset as usize).saturating_add(entry.sealed_bytes as usize);
        let sealed = object.get(place).unwrap_or_default();
        let plain_max = if entry.kind == FrameKind::Page { limits::PAGE_PLAIN_BYTES_MAX } else { limits::FRAME_BYTES_MAX };
        match key.open(entry.kind, number as u32, sealed, plain_max) {
            Err(error) => drop(faults.insert(error.to_string())),
            Ok(plain) => {
                assert!(plain.len() <= plain_max);
                found(entry.kind, &plain);
                if entry.kind == FrameKind::Page {
                    faults.extend(MapPage::decode(&pack(), &plain).err().map(|error| error.to_string()));
                }
            }
        }
    }
    match faults.into_iter().min() {
        Some(fault) => Err(fault),
        None => Ok(format!("{} frames", index.0.len().min(4))),
    }
}

fn objects() -> Vec<Vec<u8>> {
    let noise: Vec<u8> = (0..1_200_u32).map(|i| digest(&i.to_le_bytes()).as_bytes()[5]).collect();
    let text = b"stillpoint ".repeat(60);
    let frames: [&[(FrameKind, &[u8])]; 4] = [
        &[],
        &[(FrameKind::Chunks, &noise)],
        &[(FrameKind::Chunks, &text), (FrameKind::Chunks, &[7; 65_536]), (FrameKind::Chunks, &[0; 1 << 20])],
        &[(FrameKind::Chunks, &text), (FrameKind::Page, &page::small())],
    ];
    frames.into_iter().map(object).collect()
}

fn object(frames: &[(FrameKind, &[u8])]) -> Vec<u8> {
    let mut builder = PackBuilder::new(&keys(), pack());
    for (kind, plain) in frames {
        let chunks = plain.len().div_ceil(65_536) as u8;
        let container = compress(plain, COMPRESSION_LEVEL_DEFAULT, &mut Vec::new()).expect("this machine's memory is sound");
        builder.push(*kind, if *kind == FrameKind::Page { 0 } else { chunks }, container);
    }
    builder.finish().expect("a small pack").0.concat()
}

/// The parts that [`sealed`] makes this object of.
fn unsealed(object: &[u8]) -> Vec<u8> {
    let end = object.len() - TRAILER_BYTES;
    let trailer = Trailer::decode(&object[end..]).expect("a seed is sound");
    let key = PackKey::new(&keys(), &pack());
    let index =
        key.open(FrameKind::Index, INDEX, &object[end - trailer.index_bytes as usize..end], 1 << 20).expect("a seed is sound");
    let mut parts = vec![index];
    read(object, &mut |_, plain| parts.push(compress(plain, 3, &mut Vec::new()).expect("this machine's memory is sound")))
        .expect("a seed is sound");
    join(&parts)
}

fn sealed(input: &[u8]) -> Vec<u8> {
    let parts = split(input);
    let (index, containers) = parts.split_first().map_or((&[][..], &[][..]), |(index, rest)| (*index, rest));
    let mut object = object(&[])[..HEADER_BYTES].to_vec();
    for (number, container) in containers.iter().enumerate() {
        // The index says what each is; a frame is sealed as that.
        let is_page = index.get(4 + number * 10) == Some(&2);
        object.extend(seal(if is_page { Sealed::Page } else { Sealed::Chunks }, number as u32, container));
    }
    let index = seal(Sealed::Index, INDEX, &raw(index));
    object.extend(&index);
    object.extend((index.len() as u32).to_le_bytes());
    object.extend((containers.len() as u32).to_le_bytes());
    object.extend(b"STILLEND");
    object
}
