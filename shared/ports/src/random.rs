use ulid::Ulid;

use crate::Clock;

/// Randomness: keys, salts and ids.
pub trait Random: Send + Sync {
    /// Fills `bytes`; unpredictable in production, seeded in the simulator.
    fn fill(&self, bytes: &mut [u8]);
}

/// A new id: the clock's milliseconds, then 80 random bits.
pub fn ulid(clock: &dyn Clock, random: &dyn Random) -> Ulid {
    let mut bits = [0; 16];
    random.fill(&mut bits);
    let timestamp_ms = u64::try_from(clock.now().as_millisecond()).unwrap_or(0);
    Ulid::from_parts(timestamp_ms, u128::from_be_bytes(bits))
}
