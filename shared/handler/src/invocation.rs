use stillpoint_model::AttemptId;

/// One delivery of one event.
#[derive(Debug, Clone, Copy)]
pub struct Invocation {
    /// Unique to this delivery; stands in everything the handler creates.
    pub attempt: AttemptId,
}
