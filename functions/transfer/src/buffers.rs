use std::sync::{Arc, Mutex, PoisonError};

/// Bytes read from a snapshot at once: large enough to make a call cheap, small enough to stay in the processor's cache.
pub(crate) const READ_BYTES: usize = 2 << 20;
/// Buffers kept for the next read; more are given back to the system.
const KEPT: usize = 64;

/// Read buffers that are used again, since fresh memory costs a page fault per 4 KiB.
#[derive(Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    /// A buffer of `length` bytes with any content; `length` is at most [`READ_BYTES`].
    pub(crate) fn take(&self, length: usize) -> Vec<u8> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_else(|| vec![0; READ_BYTES]);
        buffer.resize(length, 0);
        buffer
    }

    pub(crate) fn give_back(&self, buffer: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(buffer);
        }
    }
}

/// A part of a read buffer that is still needed; the last part returns the buffer to its pool.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inner>);

struct Inner {
    bytes: Vec<u8>,
    pool: Arc<Buffers>,
}

impl Shared {
    pub(crate) fn new(bytes: Vec<u8>, pool: &Arc<Buffers>) -> Self {
        Self(Arc::new(Inner { bytes, pool: Arc::clone(pool) }))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.bytes));
    }
}
