//! One input against one target.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{MEMORY, targets::Target};

/// What a parser made of an input: the class of what it accepted, or the message of its refusal.
pub type Outcome = Result<String, String>;

/// What came of an input.
pub struct Attempt {
    /// Equal for inputs that are alike to the parser.
    pub class: String,
    pub took: Duration,
    /// Most bytes that were allocated at once.
    pub peak_bytes: usize,
    /// The property that does not hold.
    pub failure: Option<String>,
}

impl Attempt {
    pub fn is_accepted(&self) -> bool {
        self.class.starts_with("accepted")
    }
}

/// What the last panic said, and where it was.
static PANIC: Mutex<String> = Mutex::new(String::new());

/// Whether a parser runs, and not the harness.
static PARSING: AtomicBool = AtomicBool::new(false);

/// Keeps panics of parsers quiet; [`attempt`] reports them.
pub fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if PARSING.load(Ordering::Relaxed) {
                *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
            } else {
                loud(panic);
            }
        }));
    });
}

pub fn attempt(target: &Target, input: &[u8]) -> Attempt {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let start = Instant::now();
    PARSING.store(true, Ordering::Relaxed);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    PARSING.store(false, Ordering::Relaxed);
    let took = start.elapsed();
    let peak_bytes = MEMORY.peak_usage().saturating_sub(before);
    let (class, mut failure) = match outcome {
        Ok(Ok(accepted)) => (format!("accepted {accepted}"), None),
        Ok(Err(message)) => (class(&message), unprintable(&message)),
        Err(_) => {
            let message = PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone();
            (format!("panic {}", class(&message)), Some(message))
        }
    };
    let allowed = target.memory.bytes(input.len());
    if peak_bytes > allowed && failure.is_none() {
        failure = Some(format!("{peak_bytes} bytes of memory for {} of input, more than the {allowed} allowed", input.len()));
    }
    Attempt { class, took, peak_bytes, failure }
}

/// A message without numbers and what it quotes of the input.
fn class(message: &str) -> String {
    let (start, end) = message.find('\'').zip(message.rfind('\'')).unwrap_or((0, 0));
    let outside = message[..start].chars().chain(message[end..].chars());
    let mut quoted = false;
    let kept = outside.filter(|c| {
        quoted ^= matches!(c, '`' | '"');
        !quoted && !c.is_ascii_digit()
    });
    kept.take(160).collect()
}

/// Why a message cannot be shown: terminals obey control characters, and texts are turned around by some others.
pub fn unprintable(message: &str) -> Option<String> {
    let commands =
        |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (message.is_empty() || message.contains(commands)).then(|| format!("a message that is no printable line: {message:?}"))
}
