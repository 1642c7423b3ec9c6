use stillpoint_testkit::{Rates, TestRandom};

use crate::time::{DAY, HOUR, SECOND};

/// How often what fails; drawn for each seed. Numbers are hundredths unless they say otherwise.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Messages that come twice or more.
    pub duplicated: u64,
    /// Messages that never come.
    pub lost: u64,
    /// Messages that come much later than others.
    pub late: u64,
    /// Handlers whose events arrived but who were not told so: their own message comes again.
    pub confirm_lost: u64,
    /// Whole queues lost, in thousandths of hours.
    pub queues_lost: u64,
    /// Half an hour without broker, in thousandths of hours.
    pub outage: u64,
    /// Handlers that are dropped at some await.
    pub dropped: u64,
    /// Handlers that stand still for a second to two days, then go on.
    pub frozen: u64,
    /// Handlers whose time is limited.
    pub limited: u64,
    /// Processes that die with all they are doing, in thousandths of hours.
    pub killed: u64,
    /// Outages of the whole site, of an hour to four days, in thousandths of hours.
    pub dark: u64,
    /// Crashes of the hypervisor, in thousandths of hours.
    pub hypervisor: u64,
    /// Awaits at which a handler has to wait for a while.
    pub slow: u64,
    /// How wrong processes' clocks may be, in milliseconds.
    pub skew_ms: u64,
    /// Processes whose clock jumps a year back or ten years ahead, in thousandths of hours.
    pub jumped: u64,
    /// Hours in which the store has no room, in thousandths.
    pub full: u64,
    /// Messages that nobody sent, or that were sent long ago, in hundredths of hours.
    pub forged: u64,
    /// Objects that somebody damages, in thousandths of hours.
    pub damaged: u64,
    /// Snapshots that are made and not reported.
    pub snapshot_unreported: u64,
    /// Snapshots that are gone when they are to be read.
    pub snapshot_gone: u64,
    /// Reads of disks that fail.
    pub read_failed: u64,
    /// Faults of calls to the store.
    pub store: Rates,
}

impl Faults {
    /// The faults of one seed: of each kind none, or up to its worst.
    #[must_use]
    pub fn drawn(random: &TestRandom) -> Self {
        let rate = |worst: u64| if random.below(3) == 0 { 0 } else { random.below(worst + 1) };
        // What blurs what can be said of all else.
        let seldom = |worst: u64| if random.below(3) == 0 { random.below(worst + 1) } else { 0 };
        Self {
            duplicated: rate(50),
            lost: rate(30),
            late: rate(30),
            confirm_lost: rate(10),
            queues_lost: rate(10),
            outage: rate(20),
            dropped: rate(10),
            frozen: rate(5),
            limited: rate(20),
            killed: rate(60),
            dark: rate(6),
            hypervisor: rate(30),
            slow: rate(4),
            skew_ms: rate(600) * SECOND.unsigned_abs(),
            jumped: seldom(10),
            full: rate(10),
            forged: rate(50),
            damaged: seldom(10),
            snapshot_unreported: rate(10),
            snapshot_gone: rate(5),
            read_failed: rate(5),
            store: Rates {
                error_before: rate(20),
                error_after: rate(20),
                met_itself: rate(30),
                short_read: rate(10),
                flipped_read: rate(3),
                denied_delete: rate(60),
                short_list: seldom(5),
                repeated_list: rate(10),
                wrong_modified: rate(50),
                full: 0,
            },
        }
    }
}

/// How long a frozen handler stands still: a second to two days, short ones as likely as long ones.
pub(crate) fn freeze_ms(random: &TestRandom) -> i64 {
    let scale = [60 * SECOND, HOUR, DAY, 2 * DAY];
    let longest = scale[random.below(scale.len() as u64) as usize];
    SECOND + random.below(longest.unsigned_abs()).cast_signed()
}
