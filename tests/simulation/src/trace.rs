use std::io::Write;

use stillpoint_testkit::Call;

/// What happened, as one number: two runs that did the same have the same (FNV-1a).
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    /// Prints every record as well.
    pub(crate) log: bool,
}

impl Trace {
    pub(crate) const fn new() -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, log: false }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn text(&mut self, text: &str) {
        for byte in text.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    pub(crate) fn step(&mut self, now: i64, text: &str) {
        self.text(&now.to_string());
        self.text(text);
        self.say(now, text);
    }

    fn say(&self, now: i64, text: &str) {
        if self.log {
            let at = jiff::Timestamp::from_millisecond(now).map_or_else(|_| now.to_string(), |at| at.to_string());
            // A reader that has seen enough closes the pipe.
            drop(writeln!(std::io::stdout().lock(), "{at} {text}"));
        }
    }

    pub(crate) fn calls(&mut self, now: i64, calls: &[Call]) {
        for call in calls {
            let text = format!("  {:?} {}", call.kind, call.name);
            self.text(&text);
            self.say(now, &text);
        }
    }
}
