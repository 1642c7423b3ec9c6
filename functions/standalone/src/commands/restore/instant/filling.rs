use std::time::Duration;

use stillpoint_model::Result;
use stillpoint_qemu::{Filling, Monitor, Overlay};
use tokio::time::sleep;

use crate::output;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Until what failed is tried again. The machine needs its point, so this goes on for as long as it is on.
const AGAIN: Duration = Duration::from_secs(10);

/// How long things took from the command's beginning on.
pub struct Filled {
    /// Until the machine ran.
    pub running: Duration,
    /// Until something was read from the point.
    pub first_read: Option<Duration>,
    /// Until its disks were whole.
    pub whole: Duration,
    pub warnings: Vec<String>,
}

/// Fills one overlay after the other, telling `moved` of more bytes. Returns warnings.
pub async fn fill(
    monitor: &mut Monitor,
    overlays: &[Overlay],
    bytes_per_second: u64,
    moved: impl Fn(u64),
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for overlay in overlays {
        let mut shown = 0;
        let mut show = |done: u64| {
            moved(done.saturating_sub(shown));
            shown = shown.max(done);
        };
        loop {
            match monitor.fill(&overlay.disk, &overlay.image, bytes_per_second).await? {
                Filling::Whole => break show(overlay.size_bytes),
                Filling::Begun { done } => {
                    show(done);
                    sleep(PAUSE).await;
                }
                Filling::Failed { reason } => {
                    let warning = format!("disk {} was not filled at the first try: {reason}", overlay.disk);
                    output::complain(&format!("warning: {warning}"));
                    if !warnings.contains(&warning) {
                        warnings.push(warning);
                    }
                    sleep(AGAIN).await;
                }
            }
        }
    }
    Ok(warnings)
}
