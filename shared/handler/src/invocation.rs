use std::time::Duration;

use stillpoint_model::AttemptId;

/// One delivery of one event.
#[derive(Debug, Clone, Copy)]
pub struct Invocation {
    /// Unique to this delivery; stands in everything the handler creates.
    pub attempt: AttemptId,
    /// Whether the event may have been delivered before. `false` is only a promise to save a look: a handler that is
    /// wrongly told so does work twice, and nothing else.
    pub redelivered: bool,
    /// What is left for it; `None` where nothing stops it. The host drops the handler's future when it is over.
    pub time_left: Option<Duration>,
}

impl Invocation {
    /// A first delivery without a limit in time.
    #[must_use]
    pub const fn first(attempt: AttemptId) -> Self {
        Self { attempt, redelivered: false, time_left: None }
    }
}
