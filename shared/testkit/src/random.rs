use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use stillpoint_ports::Random;

/// Step of splitmix64.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Random numbers that follow from a seed (splitmix64).
#[derive(Debug)]
pub struct TestRandom(AtomicU64);

impl TestRandom {
    /// The numbers that follow from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The same numbers from here on, drawn apart.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Relaxed)))
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        let mut mixed = self.0.fetch_add(STEP, Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when there is none.
    pub fn below(&self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

impl Random for TestRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            part.copy_from_slice(&number[..part.len()]);
        }
    }
}
