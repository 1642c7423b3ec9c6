use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// Time. Handlers read no other clock.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The present instant. May jump in either direction; nothing may be deleted because of it alone.
    fn now(&self) -> Timestamp;

    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}
