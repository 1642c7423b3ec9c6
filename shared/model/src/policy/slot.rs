use jiff::{SignedDuration, Timestamp};

/// How long after the opening of a slot the timer may come late without that being worth a word; also the end of a window that is
/// left free of starts, so that the last machine's slot is seen by some tick before it closes.
pub const LATE_TICKS: SignedDuration = SignedDuration::from_mins(5);

/// One due backup of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// When it is due by the schedule: names the slot, whatever becomes of window and spread.
    pub due: Timestamp,
    /// When this machine's backup starts: due, and its share of the window.
    pub start: Timestamp,
    /// From here on it is too late to start.
    pub closes: Timestamp,
}

/// What a tick does about a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Its time has not come.
    NotYet,
    /// It has a job, or is recorded as missed.
    Settled,
    /// Its time has come: create the job.
    Run,
    /// Nothing ran at its time, and its window is still open: create the job, and say that it is late.
    CatchUp,
    /// Nothing ran within its window: record it as missed, and raise an alarm.
    Missed,
}

/// Judges a slot at `now`; `settled` says that it has a job or is recorded as missed. Each slot gets exactly one of
/// [`Judgement::Run`], [`Judgement::CatchUp`] and [`Judgement::Missed`], whatever the ticks, as long as what follows is recorded.
#[must_use]
pub fn judge(slot: &Slot, now: Timestamp, settled: bool) -> Judgement {
    if settled {
        Judgement::Settled
    } else if now < slot.start {
        Judgement::NotYet
    } else if now >= slot.closes {
        Judgement::Missed
    } else if now.duration_since(slot.start) < LATE_TICKS {
        Judgement::Run
    } else {
        Judgement::CatchUp
    }
}
