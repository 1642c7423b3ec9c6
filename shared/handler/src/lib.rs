//! What a function is: an event and its ports in, effects or a typed error out. A handler sees no broker, no Lambda
//! context, no environment, no wall clock and no thread; hosts in `runtime` bring these.

use std::future::Future;

use stillpoint_events::{Contract, Envelope, Outgoing};
use stillpoint_model::{AttemptId, Result};

/// One delivery of one event.
#[derive(Debug, Clone, Copy)]
pub struct Invocation {
    /// Unique to this delivery; stands in everything the handler creates.
    pub attempt: AttemptId,
}

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

/// A function: event + ports → effects.
///
/// # Cancellation
/// The future may be dropped at any await, and the same event may be delivered again, also while the first delivery still
/// runs. Only create-if-absent objects in the vault and the platform's own objects (named by the job) outlive it.
pub trait Handler: Send + Sync + 'static {
    /// What it consumes.
    type Event: Contract;

    /// Handles one event.
    ///
    /// # Errors
    /// The error's kind tells the host what to do: see the table in `runtime`.
    fn handle(&self, event: Envelope<Self::Event>, invocation: &Invocation) -> impl Future<Output = Result<Effects>> + Send;
}
