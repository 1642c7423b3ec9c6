use crate::{ChunkId, limits};

/// Pages that one sample may point to: chunks that stand everywhere (fill patterns) say nothing about likeness.
const PAGES_PER_SAMPLE_MAX: usize = 4;

/// The sampled index of a point: for 1 in 2^`bits` chunks, the first eight bytes of its id and the page it lies in. Finds
/// pages with much in common without an index of all chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleIndex {
    bits: u8,
    /// (sample, ordinal of the page in the manifest), sorted, without repetition.
    entries: Vec<(u64, u32)>,
}

/// Whether a chunk is sampled when 1 in 2^`bits` is.
fn is_sampled(sample: u64, bits: u8) -> bool {
    sample.trailing_zeros() >= u32::from(bits)
}

/// The samples among `ids` at the densest rate, sorted, without repetition.
#[must_use]
pub fn samples_of<'a>(ids: impl Iterator<Item = &'a ChunkId>) -> Vec<u64> {
    let mut samples: Vec<u64> = ids.map(ChunkId::prefix).filter(|sample| is_sampled(*sample, limits::SAMPLE_BITS_MIN)).collect();
    samples.sort_unstable();
    samples.dedup();
    samples
}

impl SampleIndex {
    /// An index of `entries`, thinned out until it fits [`limits::SAMPLES_MAX`]; no denser than `bits_min`.
    #[must_use]
    pub fn new(bits_min: u8, mut entries: Vec<(u64, u32)>) -> Self {
        let mut bits = bits_min.clamp(limits::SAMPLE_BITS_MIN, 63);
        entries.retain(|(sample, _)| is_sampled(*sample, bits));
        entries.sort_unstable();
        entries.dedup();
        let mut run = (0, 0);
        entries.retain(|(sample, _)| {
            run = if run.0 == *sample { (*sample, run.1 + 1) } else { (*sample, 1) };
            run.1 <= PAGES_PER_SAMPLE_MAX
        });
        while entries.len() > limits::SAMPLES_MAX && bits < 63 {
            bits += 1;
            entries.retain(|(sample, _)| is_sampled(*sample, bits));
        }
        Self { bits, entries }
    }

    /// Sampling rate: 1 in 2^bits.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// (sample, page ordinal), sorted.
    #[must_use]
    pub fn entries(&self) -> &[(u64, u32)] {
        &self.entries
    }

    /// Ordinals of the pages that hold `sample`.
    pub fn pages(&self, sample: u64) -> impl Iterator<Item = u32> + '_ {
        let start = self.entries.partition_point(|(at, _)| *at < sample);
        self.entries[start..].iter().take_while(move |(at, _)| *at == sample).map(|(_, page)| *page)
    }
}

impl Default for SampleIndex {
    fn default() -> Self {
        Self::new(limits::SAMPLE_BITS_MIN, Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_bound_and_the_samples_it_keeps() {
        let entries = (0..limits::SAMPLES_MAX as u64 * 3).map(|i| (i << 4, (i % 1000) as u32)).collect();
        let index = SampleIndex::new(0, entries);
        assert!(index.entries().len() <= limits::SAMPLES_MAX && index.bits() == 6);
        assert_eq!(index.pages(64).collect::<Vec<_>>(), [4]);
        assert_eq!(index.pages(16).count(), 0);
    }

    #[test]
    fn a_chunk_that_stands_everywhere_points_to_few_pages() {
        let index = SampleIndex::new(4, (0..100).map(|page| (32, page)).collect());
        assert_eq!(index.pages(32).count(), PAGES_PER_SAMPLE_MAX);
    }
}
