use std::future::Future;

use stillpoint_events::{Contract, Envelope};
use stillpoint_model::Result;

use crate::{Effects, Invocation};

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
