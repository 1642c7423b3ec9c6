use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use stillpoint_model::{Error, Result};

use crate::run::Run;

/// A disk that a server offers. Clients ask for several things at the same time; offsets and lengths lie inside the disk.
///
/// Kinds of errors reach clients as error numbers: `denied` as EPERM, `invalid` as EINVAL, all others as EIO; clients that negotiated
/// structured replies get the message too.
#[async_trait]
pub trait Export: Send + Sync {
    /// Size; it does not change while the disk is offered.
    fn size_bytes(&self) -> u64;

    /// Exactly `length` bytes (at most 32 MiB) from `offset` on.
    async fn read(&self, offset: u64, length: usize) -> Result<Bytes>;

    /// What is known of the bytes from `offset` on, as flags of `base:allocation`: runs of at least one byte, and at most `length` in
    /// all. Bytes of runs that are [`ZERO`](crate::ZERO) are not read.
    async fn block_status(&self, offset: u64, length: u64) -> Result<Vec<Run>> {
        let _ = offset;
        Ok(vec![Run::new(length, 0)])
    }

    /// Whether clients are told not to write.
    fn is_read_only(&self) -> bool {
        true
    }

    /// Writes `data` from `offset` on.
    async fn write(&self, offset: u64, data: Bytes) -> Result<()> {
        let _ = (offset, data);
        Err(Error::denied("the export is read-only"))
    }

    /// Makes `length` bytes from `offset` on zero; with `may_punch` their storage may be given back.
    async fn write_zeroes(&self, offset: u64, length: u64, may_punch: bool) -> Result<()> {
        let _ = (offset, length, may_punch);
        Err(Error::denied("the export is read-only"))
    }

    /// A client no longer needs these bytes, whatever is read there afterwards.
    async fn trim(&self, offset: u64, length: u64) -> Result<()> {
        let _ = (offset, length);
        Ok(())
    }

    /// Returns when all that was written is on disk, over whatever connection it came.
    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

/// Exports by name. The only one of a server is also the one that clients get who name none.
pub type Exports = BTreeMap<String, Arc<dyn Export>>;

/// The export of a name.
pub fn find<'a>(exports: &'a Exports, name: &str) -> Option<&'a Arc<dyn Export>> {
    exports.get(name).or_else(|| exports.values().next().filter(|_| name.is_empty() && exports.len() == 1))
}
