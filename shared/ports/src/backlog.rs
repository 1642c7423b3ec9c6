use async_trait::async_trait;
use stillpoint_model::Result;

/// How much work waits to be handed out at a site.
#[async_trait]
pub trait Backlog: Send + Sync {
    /// Messages in the queues of the site's functions. Those that are being handled do not count.
    ///
    /// # Errors
    /// `unavailable`, `denied`.
    async fn waiting(&self) -> Result<u64>;
}
