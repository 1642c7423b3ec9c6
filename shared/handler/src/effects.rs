use stillpoint_events::{Contract, Outgoing};

/// What is to be published before the event is acknowledged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// In this order.
    pub events: Vec<Outgoing>,
}

impl Effects {
    /// Nothing follows.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Publishes one event.
    #[must_use]
    pub fn publish<E: Contract>(event: &E) -> Self {
        Self { events: vec![Outgoing::new(event)] }
    }
}
