use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use stillpoint_model::{Extent, Result};
use stillpoint_ports::{DiskWriter, TargetLimits};
use stillpoint_store::{Limits, Throttle};

/// The throttle of a target, which all its disks share.
pub(crate) fn throttle(all: &Mutex<BTreeMap<String, Arc<Throttle>>>, limits: &TargetLimits) -> Arc<Throttle> {
    let made = || {
        let bytes_per_second = limits.bytes_per_second.map(|most| u32::try_from(most).unwrap_or(u32::MAX));
        Arc::new(Throttle::of(Limits {
            bytes_per_second: bytes_per_second.and_then(NonZeroU32::new),
            streams: limits.streams.and_then(NonZeroU32::new),
            requests_per_second: None,
        }))
    };
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(all.entry(limits.target.clone()).or_insert_with(made))
}

/// A writer that keeps to its target's limits.
pub(crate) struct Limited {
    writer: Box<dyn DiskWriter>,
    throttle: Arc<Throttle>,
}

impl Limited {
    pub(crate) fn new(writer: Box<dyn DiskWriter>, throttle: Arc<Throttle>) -> Self {
        Self { writer, throttle }
    }
}

#[async_trait]
impl DiskWriter for Limited {
    async fn write(&self, offset: u64, data: Bytes) -> Result<()> {
        let _stream = self.throttle.begin(data.len() as u64).await;
        self.writer.write(offset, data).await
    }

    async fn zero(&self, extent: Extent) -> Result<()> {
        let _stream = self.throttle.begin(0).await;
        self.writer.zero(extent).await
    }

    async fn sync(&self) -> Result<()> {
        self.writer.sync().await
    }
}
