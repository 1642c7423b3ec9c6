/// Flag of `base:allocation`: no storage is allocated.
pub const HOLE: u32 = 1;
/// Flag of `base:allocation`: reads as zeroes.
pub const ZERO: u32 = 2;

/// A stretch of an export whose bytes are alike in one metadata context. Runs follow each other without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Bytes.
    pub length: u64,
    /// What they are; the context says what the bits mean. In `base:allocation` [`HOLE`] and [`ZERO`], in `qemu:dirty-bitmap:…` 1 for
    /// what is dirty.
    pub flags: u32,
}

impl Run {
    /// A run of `length` bytes.
    #[must_use]
    pub const fn new(length: u64, flags: u32) -> Self {
        Self { length, flags }
    }
}

/// Adds a run, as part of the last one where they are alike.
pub(crate) fn append(runs: &mut Vec<Run>, next: Run) {
    match runs.last_mut() {
        Some(last) if last.flags == next.flags => last.length += next.length,
        _ => runs.push(next),
    }
}

/// `length` bytes of runs, after the first `skip`; fewer where there are no more.
pub(crate) fn clipped(runs: &[Run], skip: u64, length: u64) -> Vec<Run> {
    let mut clipped = Vec::new();
    let (mut skip, mut left) = (skip, length);
    for run in runs {
        let skipped = run.length.min(skip);
        let take = (run.length - skipped).min(left);
        if take > 0 {
            append(&mut clipped, Run::new(take, run.flags));
        }
        skip -= skipped;
        left -= take;
    }
    clipped
}
