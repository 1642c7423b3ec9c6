use jiff::SignedDuration;

use crate::ItemName;

/// A machine's place in the spread of its policy's starts: the part of the window that goes by before it starts, from 0 to just
/// under 1.
///
/// The order is that of a fixed hash of the names, so it is the same everywhere and always, and machines with like names (one
/// host's, one site's) do not start in a row. [`Share::among`] divides the window evenly by rank in that order: adding or removing
/// one of `n` machines moves each other by at most the `n`th part of the window and never past one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// In 2^32nds.
    part: u32,
}

impl Share {
    /// Starts when the window opens: what a machine without peers gets.
    pub const FIRST: Self = Self { part: 0 };

    /// The places of all machines of one policy, in the order given.
    #[must_use]
    pub fn among(names: &[ItemName]) -> Vec<Self> {
        let mut order: Vec<(u64, &ItemName, usize)> =
            names.iter().enumerate().map(|(place, name)| (hash(name.as_str()), name, place)).collect();
        order.sort_unstable();
        let mut shares = vec![Self::FIRST; names.len()];
        for (rank, (_, _, place)) in order.into_iter().enumerate() {
            let part = ((rank as u128) << 32) / names.len() as u128;
            shares[place] = Self { part: u32::try_from(part).unwrap_or(u32::MAX) };
        }
        shares
    }

    /// This part of `whole`, in whole seconds.
    pub(super) fn of(self, whole: SignedDuration) -> SignedDuration {
        let seconds = (i128::from(whole.as_secs()) * i128::from(self.part)) >> 32;
        SignedDuration::from_secs(i64::try_from(seconds).unwrap_or_default())
    }
}

/// FNV-1a of 64 bits, then the finish of splitmix64, which carries every bit into the upper ones. It decides start times, so it is
/// never to change; it keeps nobody out, so it needs no key.
fn hash(text: &str) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_never_to_change() {
        assert_eq!([hash(""), hash("web-01")], [17_665_956_581_633_026_203, 10_110_025_394_524_868_583]);
    }
}
