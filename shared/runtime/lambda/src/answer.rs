use lambda_runtime::Diagnostic;
use serde::Serialize;
use stillpoint_model::Error;

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its effects are published.
    Handled,
    /// It comes again.
    Later,
    /// It waits for an operator.
    Parked,
}

/// What became of an invocation's records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// See [`Fate::Handled`].
    pub handled: u32,
    /// See [`Fate::Later`].
    pub later: u32,
    /// See [`Fate::Parked`].
    pub parked: u32,
}

impl Answer {
    /// Counts one record.
    pub const fn count(&mut self, fate: Fate) {
        match fate {
            Fate::Handled => self.handled += 1,
            Fate::Later => self.later += 1,
            Fate::Parked => self.parked += 1,
        }
    }
}

/// An error in the words of Lambda: `errorType` is `stillpoint.` and the error's kind.
#[derive(Debug)]
pub struct Failed(pub Error);

impl From<Failed> for Diagnostic {
    fn from(Failed(error): Failed) -> Self {
        tracing::error!(kind = %error.kind(), "the invocation failed: {}", error.one_line());
        Self { error_type: format!("stillpoint.{}", error.kind()), error_message: error.one_line() }
    }
}
