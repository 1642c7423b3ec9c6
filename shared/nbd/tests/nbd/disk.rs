//! A disk in memory, for our server.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use stillpoint_model::{Error, Result};
use stillpoint_nbd::{Address, Export, Exports, HOLE, Listener, Run, ServeOptions, ZERO, serve};
use tokio::{sync::oneshot, task::JoinHandle};

/// What [`Memory::block_status`] looks at.
const BLOCK_BYTES: usize = 64 << 10;
pub struct Memory {
    bytes: Mutex<Vec<u8>>,
    is_read_only: bool,
    /// Reading this byte fails.
    bad: Option<u64>,
    pub flushes: AtomicUsize,
}

impl Memory {
    pub fn new(bytes: Vec<u8>, is_read_only: bool) -> Arc<Self> {
        Arc::new(Self { bytes: Mutex::new(bytes), is_read_only, bad: None, flushes: AtomicUsize::new(0) })
    }

    pub fn with_a_bad_byte(bytes: Vec<u8>, bad: u64) -> Arc<Self> {
        Arc::new(Self { bytes: Mutex::new(bytes), is_read_only: true, bad: Some(bad), flushes: AtomicUsize::new(0) })
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().expect("no one panicked").clone()
    }

    fn change(&self, offset: u64, length: u64, change: impl FnOnce(&mut [u8])) {
        let start = offset as usize;
        change(&mut self.bytes.lock().expect("no one panicked")[start..start + length as usize]);
    }
}

#[async_trait]
impl Export for Memory {
    fn size_bytes(&self) -> u64 {
        self.bytes.lock().expect("no one panicked").len() as u64
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        if self.bad.is_some_and(|bad| (offset..offset + length as u64).contains(&bad)) {
            return Err(Error::unavailable("a sector is bad"));
        }
        let start = offset as usize;
        Ok(Bytes::copy_from_slice(&self.bytes.lock().expect("no one panicked")[start..start + length]))
    }

    async fn block_status(&self, offset: u64, length: u64) -> Result<Vec<Run>> {
        let bytes = self.bytes.lock().expect("no one panicked");
        let (mut start, end) = (offset as usize, (offset + length) as usize);
        let mut runs = Vec::new();
        while start < end {
            let next = ((start / BLOCK_BYTES + 1) * BLOCK_BYTES).min(end);
            let is_zero = bytes[start..next].iter().all(|byte| *byte == 0);
            runs.push(Run::new((next - start) as u64, if is_zero { HOLE | ZERO } else { 0 }));
            start = next;
        }
        Ok(runs)
    }

    async fn write(&self, offset: u64, data: Bytes) -> Result<()> {
        self.change(offset, data.len() as u64, |place| place.copy_from_slice(&data));
        Ok(())
    }

    async fn write_zeroes(&self, offset: u64, length: u64, _may_punch: bool) -> Result<()> {
        self.change(offset, length, |place| place.fill(0));
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Our server in this process.
pub struct Serving {
    pub address: Address,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Serving {
    pub async fn start(address: &Address, exports: &[(&str, Arc<Memory>)], options: ServeOptions) -> Self {
        let exports: Exports = exports.iter().map(|(name, disk)| ((*name).to_owned(), disk.clone() as Arc<dyn Export>)).collect();
        let exports: BTreeMap<_, _> = exports;
        let listener = Listener::bind(address).await.expect("it listens");
        let address = listener.address().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(listener, exports, options, async {
            // Dropped counts as told.
            drop(stopped.await);
        }));
        Self { address, stop, task }
    }

    pub async fn stop(self) {
        self.stop.send(()).expect("it serves");
        self.task.await.expect("it does not panic").expect("it ends well");
    }
}
