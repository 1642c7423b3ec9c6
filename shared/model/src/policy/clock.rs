//! Whether the clock can be believed when it says that time is up.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// How far the clock is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMargins {
    /// Longest time without a witness that is taken for an ordinary pause. A vault that is used once a month must pass; a clock
    /// that is off by less only shortens what the undelete window still mends.
    pub pause: SignedDuration,
    /// How long after a longer pause nothing expires: the time for an operator to see the alarm and set the clock right. As long as
    /// the shortest undelete window.
    pub settle: SignedDuration,
}

impl ClockMargins {
    /// What Stillpoint uses.
    pub const DEFAULT: Self = Self { pause: SignedDuration::from_hours(35 * 24), settle: SignedDuration::from_hours(14 * 24) };
}

/// What the time is, and whether anything may expire by it.
///
/// A clock set years ahead would expire everything at once. The vault itself bears witness against it: its points and jobs were
/// made at known instants, and a clock that has jumped shows as a pause without any. So after a pause longer than
/// [`ClockMargins::pause`] nothing expires until new points and jobs have been made for [`ClockMargins::settle`], or an operator
/// confirms the clock. A long pause that was real costs some days of space. A clock set back needs no rule: it expires less.
///
/// What this does not see: a clock that is wrong from the vault's first day, one that is off by less than a pause, and one that
/// stays wrong, unnoticed, for longer than it takes to settle. Against these there is the undelete window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    now: Timestamp,
    doubt: Option<Doubt>,
}

/// Why nothing expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// The last witness before the pause.
    pub from: Timestamp,
    /// The first one after it, or now.
    pub to: Timestamp,
    /// When the clock will be believed if work goes on.
    pub until: Timestamp,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the clock may be wrong: it went from {} to {} without any job; nothing expires before {} unless the clock is confirmed",
            self.from, self.to, self.until
        )
    }
}

impl Clock {
    /// Judges the clock by `witnesses`: instants at which the vault's points and jobs were made, of all machines, in any order;
    /// the more, the better.
    #[must_use]
    pub fn judged(now: Timestamp, witnesses: impl IntoIterator<Item = Timestamp>, margins: ClockMargins) -> Self {
        // What was made while the clock was ahead says nothing about the time since then.
        let mut instants: Vec<Timestamp> = witnesses.into_iter().filter(|instant| *instant <= now).collect();
        instants.push(now);
        instants.sort_unstable();
        let is_pause = |pair: &&[Timestamp]| pair[1].duration_since(pair[0]) > margins.pause;
        let last = instants.windows(2).rev().find(is_pause);
        let doubt = last.map(|pair| Doubt {
            from: pair[0],
            to: pair[1],
            until: pair[1].checked_add(margins.settle).unwrap_or(Timestamp::MAX),
        });
        Self { now, doubt: doubt.filter(|doubt| now < doubt.until) }
    }

    /// A clock that an operator has confirmed, or a time to look at and not to act by.
    #[must_use]
    pub const fn confirmed(now: Timestamp) -> Self {
        Self { now, doubt: None }
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Why nothing may expire, if so.
    #[must_use]
    pub const fn doubt(&self) -> Option<Doubt> {
        self.doubt
    }
}
