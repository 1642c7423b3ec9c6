use std::ops::Range;

use bytes::Bytes;
use stillpoint_format::is_zero;
use stillpoint_jobs::{BackupPlan, Engine};
use stillpoint_model::{
    Error, ErrorKind, Extent, ItemName, JobId, PointId, Result,
    geometry::{CHUNK_BYTES, page_range},
};
use stillpoint_ports::{DiskReader, DiskSnapshot, DiskWriter, Platforms, Progress, TargetDisk, bytes_by_page};

/// Bytes read at once.
const READ_BYTES: u64 = 1 << 20;

/// The kept snapshot that a point is restored from, as the plan of its backup describes it.
pub(crate) struct Taken {
    job: JobId,
    plan: BackupPlan,
}

/// A disk of it: where its data lies, by whole chunks.
pub(crate) struct TakenDisk<'a> {
    disk: &'a DiskSnapshot,
    data: Vec<Extent>,
}

impl Taken {
    /// The snapshot of backup `job`, which is to be that of `point`.
    ///
    /// # Errors
    /// `corrupt` when it is another point's; as the store.
    pub(crate) async fn read(engine: &Engine, job: JobId, item: &ItemName, point: PointId) -> Result<Self> {
        let plan = engine.plan::<BackupPlan>(job).await?.plan.detail;
        if plan.item == *item && plan.point == point {
            Ok(Self { job, plan })
        } else {
            Err(Error::corrupt(format!("the snapshot of job {job} is not that of point {point} of {item}")))
        }
    }

    /// Refuses a snapshot that is not kept, or whose time is over.
    ///
    /// # Errors
    /// `missing`; as the store.
    pub(crate) async fn check(&self, engine: &Engine) -> Result<()> {
        let now = engine.vault().clock().now();
        let point = self.plan.point;
        let Some(listing) = engine.kept_snapshot_of(&engine.job(self.job).await?).await? else {
            return Err(Error::missing(format!("no snapshot of point {point} is kept any more")));
        };
        let until = engine.read_kept(&listing).await?.until;
        if until > now { Ok(()) } else { Err(Error::missing(format!("the snapshot of point {point} was kept until {until}"))) }
    }

    /// One of its disks.
    ///
    /// # Errors
    /// `invalid` when it has no such disk of this size.
    pub(crate) fn disk(&self, wanted: &TargetDisk) -> Result<TakenDisk<'_>> {
        let mut disks = self.plan.snapshot.disks.iter();
        let found = disks.find(|disk| disk.name == wanted.name && disk.size_bytes == wanted.size_bytes);
        let none = || {
            let TargetDisk { name, size_bytes, .. } = wanted;
            Error::invalid(format!("the snapshot of point {} has no disk {name} of {size_bytes} bytes", self.plan.point))
        };
        let disk = found.ok_or_else(none)?;
        Ok(TakenDisk { disk, data: stillpoint_model::merge(disk.data().into_owned(), CHUNK_BYTES, disk.size_bytes) })
    }

    /// Writes pages of a disk; returns the bytes written, zeros not counted.
    ///
    /// # Errors
    /// `missing` or `conflict` when the snapshot is gone, or is not what it was; as the platform and the target.
    pub(crate) async fn write(
        &self,
        platforms: &Platforms,
        TakenDisk { disk, data }: TakenDisk<'_>,
        pages: Range<u32>,
        writer: &dyn DiskWriter,
        moved: (&dyn Progress, JobId),
    ) -> Result<u64> {
        let gone = |error: Error| match error.kind() {
            ErrorKind::Missing | ErrorKind::Conflict => {
                error.context(format!("the snapshot of point {} cannot be restored from any more", self.plan.point))
            }
            _ => error,
        };
        let reader = platforms.get(&self.plan.platform)?.open(disk).await.map_err(gone)?;
        let mut written_bytes = 0;
        for page in pages {
            let (start, end) = page_range(page, disk.size_bytes);
            let mut at = start;
            let first = data.partition_point(|extent| extent.end() <= start);
            for part in data.iter().skip(first).map_while(|extent| extent.clip(start, end)) {
                zero(writer, at, part.offset).await?;
                written_bytes += copy(&*reader, writer, part).await?;
                moved.0.moved(moved.1, part.length);
                at = part.end();
            }
            zero(writer, at, end).await?;
        }
        // What was written counts only if it was of the snapshot's instant.
        reader.confirm().await.map_err(gone)?;
        Ok(written_bytes)
    }
}

impl TakenDisk<'_> {
    /// All pages, zero ones too, with the bytes that each may write.
    pub(crate) fn weights(&self) -> impl Iterator<Item = (u32, u64)> {
        (0..).zip(bytes_by_page(&self.data, self.disk.size_bytes))
    }
}

async fn zero(writer: &dyn DiskWriter, start: u64, end: u64) -> Result<()> {
    if start < end { writer.zero(Extent::new(start, end - start)).await } else { Ok(()) }
}

/// Copies an extent of whole chunks; those that are all zeros are not written.
async fn copy(reader: &dyn DiskReader, writer: &dyn DiskWriter, extent: Extent) -> Result<u64> {
    let mut written_bytes = 0;
    let mut offset = extent.offset;
    while offset < extent.end() {
        let length = READ_BYTES.min(extent.end() - offset) as usize;
        let bytes = Bytes::from(reader.read(offset, vec![0; length]).await?);
        for (is_data, start, end) in runs(&bytes) {
            let at = offset + start as u64;
            if is_data {
                written_bytes += (end - start) as u64;
                writer.write(at, bytes.slice(start..end)).await?;
            } else {
                writer.zero(Extent::new(at, (end - start) as u64)).await?;
            }
        }
        offset += length as u64;
    }
    Ok(written_bytes)
}

/// Runs of chunks that hold data, or none, as `(holds data, start, end)`.
fn runs(bytes: &[u8]) -> Vec<(bool, usize, usize)> {
    let mut runs: Vec<(bool, usize, usize)> = Vec::new();
    let mut start = 0;
    for chunk in bytes.chunks(CHUNK_BYTES as usize) {
        let (is_data, end) = (!is_zero(chunk), start + chunk.len());
        match runs.last_mut() {
            Some((kind, _, last)) if *kind == is_data => *last = end,
            _ => runs.push((is_data, start, end)),
        }
        start = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_chunks_of_a_kind_are_one_run() {
        let chunk = CHUNK_BYTES as usize;
        let mut bytes = vec![0; 4 * chunk + 512];
        bytes[chunk] = 1;
        bytes[3 * chunk - 1] = 1;
        bytes[4 * chunk + 511] = 1;
        assert_eq!(
            runs(&bytes),
            [(false, 0, chunk), (true, chunk, 3 * chunk), (false, 3 * chunk, 4 * chunk), (true, 4 * chunk, 4 * chunk + 512)]
        );
        assert_eq!(runs(&[]), []);
    }
}
