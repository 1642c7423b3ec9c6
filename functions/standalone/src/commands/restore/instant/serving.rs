use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use stillpoint_model::Result;
use stillpoint_nbd::{Address, Export, Exports, Listener, Run, ServeOptions, serve};
use stillpoint_reader::PointReader;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::commands::serve_point;

/// A point that is served while this process works on the machine over it.
pub struct Serving {
    first_read: Arc<watch::Sender<Option<Instant>>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Serving {
    /// Begins. `conflict` when another process serves there.
    pub async fn start(address: &Address, reader: &PointReader) -> Result<Self> {
        let listener = Listener::bind(address).await?;
        let first_read = Arc::new(watch::Sender::new(None));
        let watched = |(name, disk)| (name, Arc::new(Watched { disk, first_read: Arc::clone(&first_read) }) as Arc<dyn Export>);
        let exports: Exports = serve_point::exports(reader).into_iter().map(watched).collect();
        let options = ServeOptions::default();
        // One for each disk, and some for whoever looks.
        let options = ServeOptions { connections_max: options.connections_max + exports.len(), ..options };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, exports, options, async move { drop(stopped.await) }));
        Ok(Self { first_read, stop, task })
    }

    /// Forgets what was read: QEMU itself looks at disks before a guest does.
    pub fn begin_anew(&self) {
        self.first_read.send_replace(None);
    }

    /// When something was read for the first time.
    pub fn first_read(&self) -> Option<Instant> {
        *self.first_read.borrow()
    }

    /// Waits for that, but no longer than `patience`.
    pub async fn first_read_within(&self, patience: Duration) {
        let mut first_read = self.first_read.subscribe();
        // Whatever comes of it, there is no need to wait any more.
        drop(timeout(patience, first_read.wait_for(Option::is_some)).await);
    }

    /// Ends, when what is under way is answered.
    pub async fn stop(self) {
        drop(self.stop);
        if let Ok(Err(error)) = self.task.await {
            tracing::warn!("{}", error.one_line());
        }
    }
}

/// A disk that tells when it was first read.
struct Watched {
    disk: Arc<dyn Export>,
    first_read: Arc<watch::Sender<Option<Instant>>>,
}

#[async_trait]
impl Export for Watched {
    fn size_bytes(&self) -> u64 {
        self.disk.size_bytes()
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        let read = self.disk.read(offset, length).await?;
        if self.first_read.borrow().is_none() {
            self.first_read.send_if_modified(|at| at.replace(at.unwrap_or_else(Instant::now)).is_none());
        }
        Ok(read)
    }

    async fn block_status(&self, offset: u64, length: u64) -> Result<Vec<Run>> {
        self.disk.block_status(offset, length).await
    }
}
