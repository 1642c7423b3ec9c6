//! Giving way to the guests of this host.

use rustix::process::{getpriority_process, setpriority_process};

/// The nice value of a process that reads machines: where processors are short, it has a tenth of what a guest has. Less could keep it from its work
/// for good, while what guests overwrite piles up.
const NICE: i32 = 10;

/// Lets guests go first from here on. Threads take it from the one that starts them, so it comes before all others. What somebody has set already
/// stays.
pub fn give_way() {
    if getpriority_process(None) == Ok(0)
        && let Err(error) = setpriority_process(None, NICE)
    {
        tracing::debug!(%error, "the priority could not be lowered");
    }
}
