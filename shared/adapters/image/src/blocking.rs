use stillpoint_model::{Error, Result};

/// Runs file operations on a thread that may block; they end even when the caller is gone.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => Err(Error::unavailable("the process is shutting down")),
        Err(_) => Err(Error::internal("a file operation panicked")),
    }
}
