use std::collections::BTreeMap;

use stillpoint_model::{Error, Result};

use super::handshake::broken;
use crate::run::Run;

/// Most stretches that a reply may fill a buffer in without any two of them touching: what a server that sends its chunks in an order
/// of its own may need, and little to remember.
const PIECES_MAX: usize = 4096;

/// What a request is to bring, and as much of it as is there.
pub enum Answer {
    /// No more than that it was done.
    Done,
    Bytes(Filling),
    Runs(Statuses),
}

/// A buffer that data and holes fill, each byte exactly once.
pub struct Filling {
    offset: u64,
    buffer: Vec<u8>,
    /// Start and end of what is filled, within the buffer; touching ones are one.
    filled: BTreeMap<usize, usize>,
}

impl Filling {
    pub const fn new(offset: u64, buffer: Vec<u8>) -> Self {
        Self { offset, buffer, filled: BTreeMap::new() }
    }

    /// Offset and length of all that was asked for.
    pub const fn whole(&self) -> (u64, usize) {
        (self.offset, self.buffer.len())
    }

    /// The place for `length` bytes of the export from `offset` on; it counts as filled from then on.
    pub fn place(&mut self, offset: u64, length: usize) -> Result<&mut [u8]> {
        let outside = || broken("it sends bytes that nobody asked for");
        let start = offset.checked_sub(self.offset).and_then(|start| usize::try_from(start).ok()).ok_or_else(outside)?;
        let end = start.checked_add(length).filter(|end| *end <= self.buffer.len()).ok_or_else(outside)?;
        if length == 0 {
            return Err(broken("it sends a chunk of nothing"));
        }
        self.mark(start, end)?;
        Ok(&mut self.buffer[start..end])
    }

    fn mark(&mut self, start: usize, end: usize) -> Result<()> {
        let before = self.filled.range(..end).next_back().map(|(start, end)| (*start, *end));
        if before.is_some_and(|(_, filled)| filled > start) {
            return Err(broken("it sends bytes twice"));
        }
        let end = self.filled.remove(&end).unwrap_or(end);
        let start = before.filter(|(_, filled)| *filled == start).map_or(start, |(before, _)| before);
        self.filled.insert(start, end);
        match self.filled.len() <= PIECES_MAX {
            true => Ok(()),
            false => Err(broken("it sends too many pieces")),
        }
    }

    /// The buffer, once all of it is filled.
    pub fn finish(self) -> Result<Vec<u8>> {
        let complete = self.filled.get(&0) == Some(&self.buffer.len()) || self.buffer.is_empty();
        match complete {
            true => Ok(self.buffer),
            false => Err(broken("it sends only a part of the bytes asked for")),
        }
    }
}

/// Runs of one request, by the number of their context.
pub struct Statuses {
    /// Bytes asked about.
    pub length: u64,
    pub by_context: Vec<(u32, Vec<Run>)>,
}

impl Statuses {
    /// Takes the runs of a context: some, none of them empty, and only the last may go beyond what was asked.
    pub fn add(&mut self, context: u32, runs: Vec<Run>) -> Result<()> {
        let mut start = 0_u64;
        for run in &runs {
            if run.length == 0 || start >= self.length {
                return Err(broken("it sends runs that cannot be"));
            }
            start += run.length;
        }
        if runs.is_empty() || self.by_context.iter().any(|(known, _)| *known == context) {
            return Err(broken("it sends no runs, or twice"));
        }
        self.by_context.push((context, runs));
        Ok(())
    }
}

/// How a request ends: with what it was to bring, or with the first error that the server told of.
pub type Outcome = Result<Answer>;

/// A request on its way through its replies.
pub struct Progress {
    pub answer: Answer,
    pub failure: Option<Error>,
}

impl Progress {
    pub const fn new(answer: Answer) -> Self {
        Self { answer, failure: None }
    }

    pub fn outcome(self) -> Outcome {
        self.failure.map_or(Ok(self.answer), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filling() -> Filling {
        Filling::new(1000, vec![0; 10])
    }

    #[test]
    fn chunks_may_come_in_any_order_and_fill_everything_once() {
        let mut filling = filling();
        for (offset, length) in [(1005, 2), (1000, 3), (1007, 3), (1003, 2)] {
            filling.place(offset, length).expect("it is free").fill(offset as u8);
        }
        let expected: Vec<u8> =
            [(1000, 3), (1003, 2), (1005, 2), (1007, 3)].iter().flat_map(|(o, n)| vec![*o as u8; *n]).collect();
        assert_eq!(filling.finish().expect("it is full"), expected);
    }

    #[test]
    fn bytes_that_overlap_lie_outside_or_are_missing_are_refused() {
        for (offset, length) in [(999, 1), (1000, 11), (1010, 1), (u64::MAX, 1), (0, 1), (1003, 0)] {
            assert!(filling().place(offset, length).is_err(), "{offset}+{length}");
        }
        for (offset, length) in [(1002, 4), (1000, 3), (1005, 1), (1000, 10), (1003, 1)] {
            let mut filling = filling();
            filling.place(1002, 4).expect("it is free");
            assert!(filling.place(offset, length).is_err(), "{offset}+{length} overlaps");
            assert!(filling.finish().is_err(), "bytes are missing");
        }
    }

    #[test]
    fn runs_may_go_beyond_what_was_asked_with_their_last_only() {
        let add = |lengths: &[u64]| {
            let mut statuses = Statuses { length: 100, by_context: Vec::new() };
            statuses.add(1, lengths.iter().map(|length| Run::new(*length, 0)).collect())
        };
        assert!(add(&[10]).is_ok() && add(&[50, 200]).is_ok());
        assert!(add(&[]).is_err() && add(&[10, 0]).is_err() && add(&[100, 1]).is_err());
    }
}
