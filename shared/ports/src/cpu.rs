use async_trait::async_trait;
use stillpoint_model::{Error, Result};
use tokio::sync::oneshot;

/// A piece of computation: hash, compress, seal, or their inverse. Never blocks on anything but the processor.
pub type Work = Box<dyn FnOnce() + Send + 'static>;

/// Processors, apart from the threads that wait for the network.
#[async_trait]
pub trait Cpu: Send + Sync {
    /// Runs `work` to its end, at most as many at once as there are processors. Work that was begun is not cancelled
    /// when the caller is dropped.
    async fn run(&self, work: Work);

    /// How many pieces run at once; at least 1.
    fn width(&self) -> usize;
}

/// Runs `compute` on `cpu` and returns its value.
///
/// # Errors
/// `internal` when the computation panicked.
pub async fn execute<T: Send + 'static>(cpu: &dyn Cpu, compute: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let (sender, receiver) = oneshot::channel();
    // The receiver may be gone when the caller was cancelled; then nobody wants the value.
    cpu.run(Box::new(move || drop(sender.send(compute())))).await;
    receiver.await.map_err(|_| Error::internal("a computation panicked"))
}
