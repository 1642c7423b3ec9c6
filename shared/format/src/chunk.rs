use std::fmt;

use data_encoding::HEXLOWER;

/// Name of a chunk: BLAKE3 of its 65,536 bytes (the last chunk of a disk padded with zeros), keyed with the vault's
/// chunk-id key, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub [u8; 32]);

impl ChunkId {
    /// The first eight bytes as a little-endian number: what sampling looks at.
    #[must_use]
    pub fn prefix(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", &HEXLOWER.encode(&self.0[..4]))
    }
}

/// BLAKE3 of `bytes`, lowercase hex: binds one object to another.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    HEXLOWER.encode(blake3::hash(bytes).as_bytes())
}

/// Whether all bytes are zero; stops at the first that is not.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    const BLOCK: [u8; 256] = [0; 256];
    let blocks = bytes.chunks_exact(BLOCK.len());
    let rest = blocks.remainder();
    blocks.into_iter().all(|block| block == BLOCK) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_told_at_every_position() {
        let mut bytes = vec![0; 1000];
        assert!(is_zero(&bytes) && is_zero(&[]));
        for position in [0, 255, 256, 767, 768, 999] {
            bytes[position] = 1;
            assert!(!is_zero(&bytes), "{position}");
            bytes[position] = 0;
        }
    }
}
