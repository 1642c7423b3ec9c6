//! A bar with bytes, rate and time left on a terminal; a line now and then elsewhere.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stillpoint_model::JobId;
use stillpoint_ports::Progress;

use crate::output;

/// Pause between two plain lines.
const LINE_PAUSE: Duration = Duration::from_secs(10);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Not at all.
    Silent,
    /// As a bar.
    Bar,
    /// As lines.
    Lines,
}

/// Shows all jobs of this process together.
pub struct Display {
    style: Style,
    bar: ProgressBar,
    total: AtomicU64,
    moved: AtomicU64,
    last_line: Mutex<Instant>,
}

impl Display {
    /// Shows nothing before the first job is planned.
    pub fn new(style: Style) -> Self {
        let target = if style == Style::Bar { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let template = "{bar:30} {percent:>3} %  {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta} left";
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { style, bar, total: AtomicU64::new(0), moved: AtomicU64::new(0), last_line: Mutex::new(Instant::now()) }
    }

    /// Takes the bar off the screen.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Display {
    fn planned(&self, _job: JobId, bytes: u64, done: u64) {
        let total = self.total.fetch_add(bytes, Relaxed) + bytes;
        let moved = self.moved.fetch_add(done, Relaxed) + done;
        self.bar.set_length(total);
        self.bar.set_position(moved);
    }

    fn moved(&self, _job: JobId, bytes: u64) {
        let moved = self.moved.fetch_add(bytes, Relaxed) + bytes;
        self.bar.set_position(moved);
        if self.style == Style::Lines {
            let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
            if last.elapsed() >= LINE_PAUSE {
                *last = Instant::now();
                output::complain(&format!("{} of {}", output::bytes(moved), output::bytes(self.total.load(Relaxed))));
            }
        }
    }
}
