use std::sync::Arc;

use futures_util::lock::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stillpoint_model::{Error, ErrorKind, JobId, Requests, Result};
use stillpoint_vault::{Name, PLAN};

use crate::Engine;

/// Data that one segment covers at least, so that small disks still have several segments to work on at once.
const SEGMENT_BYTES_MIN: u64 = 64 << 20;
/// Segments that a job aims at from 512 MiB of data on: enough to work on many at once, and each costs a marker, a read of the
/// parent's pages and a pack that is not full.
const SEGMENTS_FEW: u64 = 8;
/// ... until each has this much data: what has to be read again after a crash.
const SEGMENT_BYTES_FEW_MAX: u64 = 512 << 20;
/// Segments that a job aims at when its data is large: with their packs, 1 TiB with 3 % changed stays below 600 creates.
const SEGMENTS_MANY: u64 = 240;
/// Data that one segment covers at most: 4 GiB are read and stored in half a minute, well within the life of a function.
const SEGMENT_BYTES_MAX: u64 = 4 << 30;
/// Pages with content in one segment; bounds the marker and the memory of a step (24 MiB of map pages).
const SEGMENT_PAGES_MAX: u32 = 1024;

/// The work of one step: a run of map pages of one disk; of a verification, a run of the packs in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Position of the disk in the plan; 0 of a verification.
    pub disk: u16,
    /// First page, or pack.
    pub first_page: u32,
    /// Number of pages, or packs.
    pub pages: u32,
    /// Bytes of data in it, for progress.
    pub bytes: u64,
}

/// What a job will do, fixed once; `T` is what its operation adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan<T> {
    /// The job.
    pub job: JobId,
    /// The segments; a segment's number is its position.
    pub segments: Vec<Segment>,
    /// Requests it took to make it, its own creation included.
    pub requests: Requests,
    /// The operation's part.
    pub detail: T,
}

/// A plan as it lies in the vault.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    /// The plan.
    pub plan: Plan<T>,
    /// BLAKE3 of the object, hex: what markers are bound to.
    pub hash: String,
    /// Whether this delivery made it, and no other.
    pub own: bool,
}

impl<T> Loaded<T> {
    /// How many segments it has.
    #[must_use]
    pub fn segments(&self) -> u32 {
        u32::try_from(self.plan.segments.len()).unwrap_or(u32::MAX)
    }

    /// One of them.
    ///
    /// # Errors
    /// `fenced` when there is none of this number.
    pub fn segment(&self, number: u32) -> Result<&Segment> {
        let segment = self.plan.segments.get(number as usize);
        segment.ok_or_else(|| Error::fenced(format!("job {} has no segment {number}", self.plan.job)))
    }
}

/// The plans that a function's segments belong to; the newest is kept between them.
pub struct Plans<T> {
    operation: &'static str,
    newest: Mutex<Option<Arc<Loaded<T>>>>,
}

impl<T: DeserializeOwned> Plans<T> {
    /// Of jobs of this operation.
    #[must_use]
    pub fn of(operation: &'static str) -> Self {
        Self { operation, newest: Mutex::default() }
    }

    /// A job's plan; read once, whichever of its segments comes first.
    ///
    /// # Errors
    /// As [`Engine::plan`] and [`Engine::unless_stray`].
    pub async fn get(&self, engine: &Engine, job: JobId) -> Result<Arc<Loaded<T>>> {
        let mut newest = self.newest.lock().await;
        if let Some(loaded) = newest.as_ref().filter(|loaded| loaded.plan.job == job) {
            return Ok(Arc::clone(loaded));
        }
        match engine.plan(job).await {
            Ok(loaded) => Ok(Arc::clone(newest.insert(Arc::new(loaded)))),
            Err(error) => {
                drop(newest);
                Err(engine.unless_stray(job, self.operation, error).await)
            }
        }
    }
}

/// Bytes of data that one segment of a job with `total` bytes covers.
fn segment_bytes(total: u64) -> u64 {
    let few = total.div_ceil(SEGMENTS_FEW).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_FEW_MAX);
    few.max(total / SEGMENTS_MANY).min(SEGMENT_BYTES_MAX)
}

/// Cuts pages with content, given as (disk, page, bytes of data) in order, into segments.
#[must_use]
pub fn cut(pages: &[(u16, u32, u64)]) -> Vec<Segment> {
    let total: u64 = pages.iter().map(|(_, _, bytes)| bytes).sum();
    let aim = segment_bytes(total);
    let mut segments: Vec<Segment> = Vec::new();
    let mut filled = 0;
    for &(disk, page, bytes) in pages {
        match segments.last_mut() {
            Some(last) if last.disk == disk && filled < SEGMENT_PAGES_MAX && last.bytes + bytes <= aim => {
                last.pages = page - last.first_page + 1;
                last.bytes += bytes;
                filled += u32::from(bytes > 0);
            }
            _ => {
                segments.push(Segment { disk, first_page: page, pages: 1, bytes });
                filled = u32::from(bytes > 0);
            }
        }
    }
    segments
}

impl Engine {
    /// Creates a job's plan, or reads the one that another attempt created first.
    ///
    /// # Errors
    /// `corrupt`; as the store.
    pub async fn save_plan<T: Serialize + DeserializeOwned>(&self, plan: Plan<T>) -> Result<Loaded<T>> {
        match self.vault().create_record(PLAN, &Name::Plan(plan.job), &plan).await {
            Ok(bytes) => Ok(Loaded { plan, hash: stillpoint_format::digest(&bytes), own: true }),
            Err(error) if error.kind() == ErrorKind::Conflict => self.plan(plan.job).await,
            Err(error) => Err(error),
        }
    }

    /// Reads a job's plan.
    ///
    /// # Errors
    /// `missing` when it was not made yet, `corrupt`; as the store.
    pub async fn plan<T: DeserializeOwned>(&self, job: JobId) -> Result<Loaded<T>> {
        let (plan, bytes) = self.vault().read_record_bytes::<Plan<T>>(PLAN, &Name::Plan(job)).await?;
        if plan.job != job {
            return Err(Error::corrupt(format!("the plan of job {job} is another job's")));
        }
        Ok(Loaded { plan, hash: stillpoint_format::digest(&bytes), own: false })
    }

    /// What it says about a job that its plan, or what that names, could not be read as `operation`'s: nothing, where the
    /// event that asked for it came before the plan or is none of this job's. Then it is `fenced`: nobody but a stranger, or
    /// a copy out of order, sends such an event, and the job must not suffer from it.
    pub async fn unless_stray(&self, id: JobId, operation: &str, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt) {
            return error;
        }
        match self.job(id).await {
            Ok(job) if job.request.what.as_str() != operation || job.newest.segments.is_none() => {
                Error::fenced(format!("job {id} has no use for this event")).with_source(error)
            }
            _ => error,
        }
    }

    /// Reads a job's plan if there is one.
    ///
    /// # Errors
    /// As [`Engine::plan`], without `missing`.
    pub async fn plan_if_made<T: DeserializeOwned>(&self, job: JobId) -> Result<Option<Loaded<T>>> {
        match self.plan(job).await {
            Ok(loaded) => Ok(Some(loaded)),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use stillpoint_model::geometry::PAGE_BYTES;

    use super::*;

    fn pages(disk: u16, numbers: std::ops::Range<u32>) -> Vec<(u16, u32, u64)> {
        numbers.map(|page| (disk, page, PAGE_BYTES)).collect()
    }

    #[test]
    fn small_disks_are_cut_into_64_mib_and_never_across_disks() {
        let all = [pages(0, 0..5), pages(1, 0..1)].concat();
        let cuts: Vec<_> = cut(&all).iter().map(|s| (s.disk, s.first_page, s.pages)).collect();
        assert_eq!(cuts, [(0, 0, 2), (0, 2, 2), (0, 4, 1), (1, 0, 1)]);
    }

    #[test]
    fn gaps_cost_no_segments() {
        let sparse: Vec<_> = (0..32).map(|n| (0, n * 1000, PAGE_BYTES / 32)).collect();
        assert_eq!(cut(&sparse).len(), 1);
        assert_eq!(cut(&sparse)[0].pages, 31_001);
    }

    #[test]
    fn disks_of_some_gibibytes_are_cut_into_eight() {
        let count = |gib: u32| cut(&pages(0, 0..gib * 32)).len();
        assert_eq!([1, 2, 4].map(count), [8; 3]);
        assert_eq!([8, 32, 120].map(count), [16, 64, 240], "512 MiB each");
        assert!((240..=260).contains(&count(300)));
    }

    #[test]
    fn one_tebibyte_stays_near_the_aim() {
        let count = cut(&pages(0, 0..32_768)).len();
        assert!((240..=260).contains(&count), "{count}");
    }

    #[test]
    fn every_page_lies_in_exactly_one_segment() {
        let all: Vec<_> = (0..5000_u32).filter(|n| n % 7 != 0).map(|n| (0, n, u64::from(n) * 9000)).collect();
        let segments = cut(&all);
        for (_, page, _) in all {
            assert_eq!(segments.iter().filter(|s| (s.first_page..s.first_page + s.pages).contains(&page)).count(), 1);
        }
    }
}
