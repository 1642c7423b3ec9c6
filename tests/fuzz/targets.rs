//! The parsers.

pub mod event;
pub mod files;
pub mod image;
pub mod inner;
pub mod keys;
pub mod manifest;
pub mod nbd;
pub mod pack;
pub mod page;
pub mod record;
pub mod words;

use crate::attempt::Outcome;

/// A parser and what it is fed with.
pub struct Target {
    pub name: &'static str,
    /// Whether inputs are changed by tokens.
    pub is_text: bool,
    /// Longest input.
    pub bytes_max: usize,
    /// Inputs of a short run.
    pub inputs: u64,
    pub memory: Memory,
    /// Real bytes.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Parses; panics where something does not hold that always must.
    pub check: fn(&[u8]) -> Outcome,
}

/// What an input may cost at most.
#[derive(Clone, Copy)]
pub enum Memory {
    /// So much however short it is: of formats that state the lengths of what they compress, and limit them.
    Fixed(usize),
    /// In proportion.
    ByInput,
}

impl Memory {
    pub const fn bytes(self, input: usize) -> usize {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::ByInput => 64 * input + (1 << 20),
        }
    }
}

/// As text, or the refusal that every reader of text begins with.
fn text(input: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(input).map_err(|_| "it is not UTF-8".to_owned())
}
