use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use stillpoint_image::ImageTarget;
use stillpoint_model::{JobId, Result};
use stillpoint_ports::{Clock, DiskWriter, Target, TargetDisk};
use stillpoint_store::{Store, Throttle};

use crate::{
    limited::{Limited, throttle},
    object::{self, Object, is_object},
};

/// Targets of restores, each by its location; see the crate.
pub struct Staging {
    images: ImageTarget,
    clock: Arc<dyn Clock>,
    /// By the URL of their folder: all objects in it share its limits.
    stores: Mutex<BTreeMap<String, Store>>,
    /// By the target's name.
    throttles: Mutex<BTreeMap<String, Arc<Throttle>>>,
}

impl Staging {
    /// The targets; `clock` tells the time of day, for limits of stores that depend on it.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { images: ImageTarget::new(), clock, stores: Mutex::default(), throttles: Mutex::default() }
    }

    /// The same; stores that are reached by these URLs of folders are these.
    #[cfg(test)]
    pub(crate) fn with(self, url: &str, store: Store) -> Self {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).insert(url.to_owned(), store);
        self
    }

    fn object(&self, disk: &TargetDisk) -> Result<Object> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        Object::of(disk, &mut stores, &self.clock)
    }

    fn objects(&self, disks: &[TargetDisk]) -> Result<Vec<Object>> {
        disks.iter().filter(|disk| is_object(&disk.location)).map(|disk| self.object(disk)).collect()
    }
}

/// The disks that are written here.
fn images(disks: &[TargetDisk]) -> Vec<TargetDisk> {
    disks.iter().filter(|disk| !is_object(&disk.location)).cloned().collect()
}

#[async_trait]
impl Target for Staging {
    async fn prepare(&self, job: JobId, disks: &[TargetDisk]) -> Result<()> {
        let (images, objects) = (images(disks), self.objects(disks)?);
        self.images.check(job, &images).await?;
        object::check(&objects).await?;
        self.images.prepare(job, &images).await?;
        for object in &objects {
            object.prepare(job).await?;
        }
        Ok(())
    }

    async fn check(&self, job: JobId, disks: &[TargetDisk]) -> Result<()> {
        self.images.check(job, &images(disks)).await?;
        object::check(&self.objects(disks)?).await
    }

    async fn probe(&self, disk: &TargetDisk, bytes: Bytes) -> Result<Option<u64>> {
        if is_object(&disk.location) { self.object(disk)?.probe(bytes).await } else { self.images.probe(disk, bytes).await }
    }

    async fn open(&self, job: JobId, disk: &TargetDisk) -> Result<Box<dyn DiskWriter>> {
        if is_object(&disk.location) {
            return Ok(Box::new(self.object(disk)?.open(job).await?));
        }
        let writer = self.images.open(job, disk).await?;
        Ok(match &disk.limits {
            None => writer,
            Some(limits) => Box::new(Limited::new(writer, throttle(&self.throttles, limits))),
        })
    }

    async fn publish(&self, job: JobId, disks: &[TargetDisk]) -> Result<()> {
        self.images.publish(job, &images(disks)).await?;
        for object in self.objects(disks)? {
            object.publish(job).await?;
        }
        Ok(())
    }

    async fn discard(&self, job: JobId, disks: &[TargetDisk]) -> Result<()> {
        let mut discarded = self.images.discard(job, &images(disks)).await;
        for object in self.objects(disks)? {
            discarded = discarded.and(object.discard(job).await);
        }
        discarded
    }
}
