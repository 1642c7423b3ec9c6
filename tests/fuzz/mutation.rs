//! What is done to bytes.

use crate::{chance::Chance, tokens};

/// Numbers at which parsers change their minds.
const BOUNDARIES: [u64; 22] = [
    0,
    1,
    2,
    15,
    16,
    17,
    63,
    64,
    127,
    128,
    255,
    256,
    511,
    512,
    513,
    0x7fff,
    0xffff,
    0x0001_0000,
    0x7fff_ffff,
    0xffff_fffe,
    0xffff_ffff,
    u64::MAX,
];

/// Where bytes come from besides the one input.
pub struct Sources<'a> {
    pub pool: &'a [Vec<u8>],
    /// Tokens of the seeds; empty for what is no text.
    pub words: &'a [String],
    pub bytes_max: usize,
}

/// Some changes, few most of the time.
pub fn mutate(chance: &mut Chance, sources: &Sources<'_>) -> Vec<u8> {
    let mut bytes = chance.pick(sources.pool).clone();
    let changes = if chance.once_in(4) { 1 + chance.below(16) } else { 1 + chance.below(2) };
    for _ in 0..changes {
        if !sources.words.is_empty() && !chance.once_in(6) {
            tokens::change(chance, &mut bytes, sources.words);
        } else {
            change(chance, &mut bytes, sources.pool);
        }
        // After each: what grows a hundredfold several times fills all memory.
        bytes.truncate(sources.bytes_max);
    }
    bytes
}

fn change(chance: &mut Chance, bytes: &mut Vec<u8>, pool: &[Vec<u8>]) {
    let length = bytes.len();
    if length == 0 {
        bytes.extend(chance.pick(pool));
        return;
    }
    match chance.below(11) {
        0 | 1 => bytes[chance.below(length)] ^= 1 << chance.below(8),
        2 => bytes[chance.below(length)] = *chance.pick(&BOUNDARIES) as u8,
        3 | 4 => number(chance, bytes),
        5 => bytes.truncate(chance.below(length + 1)),
        6 => {
            let more = chance.below(40);
            let fill = if chance.once_in(2) { 0 } else { chance.next() as u8 };
            bytes.resize(length + more, fill);
        }
        7 => drop(bytes.drain(chance.range(length))),
        8 => {
            let copy = bytes[chance.range(length)].to_vec();
            let at = chance.below(length + 1);
            bytes.splice(at..at, copy);
        }
        9 => {
            let other = chance.pick(pool);
            let part = other[chance.range(other.len())].to_vec();
            bytes.splice(chance.range(length), part);
        }
        _ => {
            let other = chance.pick(pool);
            bytes.truncate(chance.below(length + 1));
            bytes.extend_from_slice(&other[chance.below(other.len())..]);
        }
    }
}

/// Sets a little-endian number, such as a count or a length, or moves it a little.
fn number(chance: &mut Chance, bytes: &mut [u8]) {
    let width = *chance.pick(&[1, 2, 4, 4, 8]);
    // Fields of an input come early more often than late.
    let end = if chance.once_in(2) { bytes.len().min(64) } else { bytes.len() };
    let at = chance.below(end);
    let Some(field) = bytes.get_mut(at..at + width) else { return };
    let mut old = [0; 8];
    old[..width].copy_from_slice(field);
    let new = match chance.below(3) {
        0 => u64::from_le_bytes(old).wrapping_add(1),
        1 => u64::from_le_bytes(old).wrapping_sub(1),
        _ => *chance.pick(&BOUNDARIES),
    };
    field.copy_from_slice(&new.to_le_bytes()[..width]);
}
