use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

/// Streams of one disk that are followed.
pub const STREAMS: usize = 8;
/// How far the reads of one stream may arrive out of order.
const SLACK_BYTES: u64 = 4 << 20;
/// What a stream reads before it counts as one: single files of a file system are smaller.
const RUN_BYTES_MIN: u64 = 1 << 20;

/// Clients that read on and on, by where they are.
#[derive(Default)]
pub struct Streams(Mutex<Vec<Stream>>);

struct Stream {
    /// End of what was read.
    next: u64,
    /// Bytes read one after the other.
    run: u64,
    /// End of what was asked for ahead.
    ahead: u64,
}

impl Streams {
    /// Notes a read and gives what is worth fetching before it is asked for: as much as the stream has read so far, up to `bytes_max`,
    /// in steps of half of that.
    pub fn note(&self, read: Range<u64>, bytes_max: u64) -> Option<Range<u64>> {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let continues = |stream: &Stream| read.start <= stream.next + SLACK_BYTES && read.end + SLACK_BYTES >= stream.next;
        let mut stream = match streams.iter().position(continues) {
            Some(position) => streams.remove(position),
            None => Stream { next: read.start, run: 0, ahead: read.end },
        };
        if read.end > stream.next {
            stream.run += read.end - stream.next;
            stream.next = read.end;
        }
        stream.ahead = stream.ahead.max(stream.next);
        let window = stream.run.min(bytes_max);
        let wanted = stream.ahead..stream.next + window;
        let is_worth_it = stream.run > RUN_BYTES_MIN && stream.ahead <= stream.next + window / 2 && !wanted.is_empty();
        if is_worth_it {
            stream.ahead = wanted.end;
        }
        if streams.len() == STREAMS {
            streams.remove(0);
        }
        streams.push(stream);
        is_worth_it.then_some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_stream_is_read_ahead_of_by_what_it_has_read_up_to_a_bound() {
        let (streams, mut fetched, mut at) = (Streams::default(), 0, 100 * MIB);
        while at < 200 * MIB {
            let read = at..at + MIB / 4;
            at = read.end;
            if let Some(wanted) = streams.note(read, 8 * MIB) {
                assert!(wanted.start >= at && wanted.start >= fetched, "nothing is asked for twice");
                assert!(wanted.end <= at + 8 * MIB, "within the bound");
                assert!(wanted.end - at <= at - 100 * MIB, "no more than it has read");
                fetched = wanted.end;
            }
            assert!(at < 103 * MIB || fetched > at, "it stays ahead");
        }
    }

    #[test]
    fn reads_here_and_there_are_no_stream_and_streams_do_not_disturb_each_other() {
        let streams = Streams::default();
        for step in 0..200 {
            assert_eq!(streams.note(step * 50 * MIB..step * 50 * MIB + MIB, 8 * MIB), None);
        }
        let mut ahead = [0; 4];
        for step in 0..64 {
            for (stream, ahead) in ahead.iter_mut().enumerate() {
                let start = stream as u64 * 1000 * MIB + step * MIB / 4;
                if let Some(wanted) = streams.note(start..start + MIB / 4, 8 * MIB) {
                    *ahead = wanted.end;
                }
            }
        }
        assert!(ahead.iter().enumerate().all(|(stream, end)| *end > stream as u64 * 1000 * MIB + 16 * MIB), "{ahead:?}");
    }

    #[test]
    fn reads_that_overtake_each_other_are_one_stream() {
        let streams = Streams::default();
        let mut ahead = 0;
        for step in (0..64_u64).step_by(2) {
            for start in [(step + 1) * MIB / 4, step * MIB / 4] {
                ahead = streams.note(start..start + MIB / 4, 8 * MIB).map_or(ahead, |wanted| wanted.end);
            }
        }
        assert!(ahead > 16 * MIB, "{ahead}");
    }
}
