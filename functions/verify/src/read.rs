use std::sync::Arc;

use bytes::Bytes;
use stillpoint_events::{Envelope, VerifySegmentPlanned, VerifySegmentsRead};
use stillpoint_format::limits;
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Engine, FanIn, InHand, Loaded, Marker, Segment};
use stillpoint_model::{Error, ErrorKind, JobId, Requests, Result};
use stillpoint_ports::{Cpu, Progress, execute};
use stillpoint_vault::Vault;
use tokio::sync::Mutex;

use crate::{
    pack,
    plan::{Lost, PackToRead, SegmentRead, VerifyPlan},
};

/// Times that a pack is read before it counts as corrupt, or, while the store answers otherwise, as unreadable: what went wrong on
/// the way does not go wrong again.
const READS: u32 = 3;

/// Reads packs whole, one at a time.
pub struct Read {
    engine: Engine,
    cpu: Arc<dyn Cpu>,
    progress: Arc<dyn Progress>,
    newest: Mutex<Option<(JobId, Arc<Loaded<VerifyPlan>>)>>,
    in_hand: InHand,
}

impl Read {
    /// The handler over its ports.
    #[must_use]
    pub fn new(engine: Engine, cpu: Arc<dyn Cpu>, progress: Arc<dyn Progress>) -> Self {
        Self { engine, cpu, progress, newest: Mutex::default(), in_hand: InHand::default() }
    }

    async fn loaded(&self, engine: &Engine, job: JobId) -> Result<Arc<Loaded<VerifyPlan>>> {
        let mut newest = self.newest.lock().await;
        if let Some((_, loaded)) = newest.as_ref().filter(|(known, _)| *known == job) {
            return Ok(Arc::clone(loaded));
        }
        let loaded = Arc::new(engine.plan::<VerifyPlan>(job).await?);
        *newest = Some((job, Arc::clone(&loaded)));
        Ok(loaded)
    }

    async fn read_segment(&self, vault: &Vault, job: JobId, plan: &VerifyPlan, segment: &Segment) -> Result<SegmentRead> {
        let first = segment.first_page as usize;
        let packs = plan.packs.get(first..first + segment.pages as usize);
        let packs = packs.ok_or_else(|| Error::corrupt("a plan names no such packs"))?;
        let mut read = SegmentRead::default();
        for pack in packs {
            match self.problem(vault, pack).await? {
                None => {
                    read.packs += 1;
                    read.bytes += pack.size_bytes;
                }
                Some((problem, was_read)) => {
                    let size_bytes = Some(pack.size_bytes);
                    read.lost.push(Lost { object: pack.name.clone(), problem, size_bytes, read: was_read });
                }
            }
            self.progress.moved(job, pack.size_bytes);
        }
        Ok(read)
    }

    /// What is wrong with a pack, and whether it takes more than a look to see it.
    async fn problem(&self, vault: &Vault, pack: &PackToRead) -> Result<Option<(String, bool)>> {
        let mut problem = None;
        for _ in 0..READS {
            let checked = match vault.store().get(&pack.name, limits::PACK_BYTES_MAX as u64).await {
                Ok(bytes) => self.check(vault, pack, bytes).await,
                Err(error) => Err(error),
            };
            problem = match checked {
                Ok(()) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Missing => Some(("missing".to_owned(), false)),
                Err(error) if error.kind() == ErrorKind::Corrupt => Some((format!("corrupt: {}", error.one_line()), true)),
                Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Denied) => {
                    // A store that answers, but for this object, has lost it as much as one that gives back other bytes.
                    match vault.store().size(&pack.name).await {
                        Ok(_) => Some((error.one_line(), true)),
                        Err(_) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            };
        }
        Ok(problem)
    }

    async fn check(&self, vault: &Vault, pack: &PackToRead, bytes: Bytes) -> Result<()> {
        if bytes.len() as u64 != pack.size_bytes {
            return Err(Error::corrupt(format!("{} bytes long, not {} as written", bytes.len(), pack.size_bytes)));
        }
        let (keys, pack) = (Arc::clone(vault.keys()), pack.pack()?);
        execute(&*self.cpu, move || pack::check(&keys, &pack, &bytes)).await?
    }
}

impl Handler for Read {
    type Event = VerifySegmentPlanned;

    async fn handle(&self, event: Envelope<VerifySegmentPlanned>, invocation: &Invocation) -> Result<Effects> {
        let VerifySegmentPlanned { job, segment: number } = event.data;
        let engine = self.engine.metered();
        let loaded = match self.loaded(&engine, job).await {
            Err(error) => return Err(engine.unless_stray(job, "verify", error).await),
            Ok(loaded) => loaded,
        };
        let plan = &loaded.plan;
        let segments = u32::try_from(plan.segments.len()).unwrap_or(u32::MAX);
        let segment =
            plan.segments.get(number as usize).ok_or_else(|| Error::fenced(format!("job {job} has no segment {number}")))?;
        let held = self.in_hand.take(job, number);
        let fan_in = if invocation.redelivered && engine.is_done(job, number).await? {
            engine.lay_down(held, segments, invocation.attempt).await?
        } else {
            let detail = self.read_segment(engine.vault(), job, &plan.detail, segment).await?;
            let requests = engine.vault().store().requests() + Requests { put: 1, ..Requests::default() };
            let marker = Marker { plan: loaded.hash.clone(), segment: number, attempt: invocation.attempt, requests, detail };
            engine.finish_segment(held, segments, &marker).await?
        };
        Ok(match fan_in {
            FanIn::Complete => Effects::publish(&VerifySegmentsRead { job }),
            FanIn::Pending => Effects::none(),
        })
    }
}
