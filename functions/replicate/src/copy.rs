use std::sync::Arc;

use stillpoint_events::{Envelope, ReplicateSegmentPlanned, ReplicateSegmentsCopied};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Delivery, Engine, FanIn, InHand, Plans, Segment};
use stillpoint_model::{Error, ErrorKind, JobId, Result};
use stillpoint_ports::Progress;
use stillpoint_vault::{Vault, put};

use crate::{
    plan::{PackToCopy, ReplicatePlan, SegmentCopied},
    source::Source,
};

/// Copies packs as they are stored, one at a time.
pub struct Copy {
    engine: Engine,
    source: Arc<Source>,
    progress: Arc<dyn Progress>,
    plans: Plans<ReplicatePlan>,
    in_hand: InHand,
}

impl Copy {
    /// The handler over its ports.
    #[must_use]
    pub(crate) fn new(engine: Engine, source: Arc<Source>, progress: Arc<dyn Progress>) -> Self {
        Self { engine, source, progress, plans: Plans::of("replicate"), in_hand: InHand::default() }
    }

    /// Whether some of this segment may have been copied since it was planned: by an earlier try, or, of packs that several machines
    /// share, by the job of another machine. Jobs of one machine are many at a time.
    async fn is_repeated(&self, job: JobId, invocation: &Invocation) -> Result<bool> {
        if invocation.redelivered {
            return Ok(true);
        }
        let job = self.engine.job_as_seen(job).await?;
        Ok(job.newest.tries > 1 || job.request.what.item().is_some())
    }

    async fn copy_segment(
        &self,
        primary: &Vault,
        job: JobId,
        plan: &ReplicatePlan,
        segment: &Segment,
        repeated: bool,
    ) -> Result<SegmentCopied> {
        let first = segment.first_page as usize;
        let packs = plan.packs.get(first..first + segment.pages as usize);
        let packs = packs.ok_or_else(|| Error::corrupt("a plan names no such packs"))?;
        let mut copied = SegmentCopied::default();
        let replica = self.engine.vault();
        for pack in packs {
            let is_there = repeated && replica.absence(&pack.name, pack.size_bytes).await?.is_none();
            if !is_there {
                match fetch(primary, pack).await {
                    Ok(bytes) => copied.bytes += put(replica, &pack.name, bytes).await?,
                    Err(error) if matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt) => {
                        copied.lost.push((pack.name.clone(), error.one_line()));
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            copied.packs += 1;
            self.progress.moved(job, pack.size_bytes);
        }
        Ok(copied)
    }
}

/// A pack of the size that was written.
async fn fetch(primary: &Vault, pack: &PackToCopy) -> Result<bytes::Bytes> {
    let bytes = primary.store().get(&pack.name, pack.size_bytes).await?;
    if bytes.len() as u64 == pack.size_bytes {
        Ok(bytes)
    } else {
        Err(Error::corrupt(format!("{} is {} bytes long, not {} as written", pack.name, bytes.len(), pack.size_bytes)))
    }
}

impl Handler for Copy {
    type Event = ReplicateSegmentPlanned;

    async fn handle(&self, event: Envelope<ReplicateSegmentPlanned>, invocation: &Invocation) -> Result<Effects> {
        let ReplicateSegmentPlanned { job, segment: number } = event.data;
        let engine = self.engine.metered();
        let loaded = self.plans.get(&engine, job).await?;
        let segment = loaded.segment(number)?;
        let held = self.in_hand.take(job, number);
        let work = async {
            let primary = self.source.primary(engine.vault()).await?.metered();
            let repeated = self.is_repeated(job, invocation).await?;
            let detail = self.copy_segment(&primary, job, &loaded.plan.detail, segment, repeated).await?;
            Ok((detail, primary.store().requests()))
        };
        let delivery = Delivery { attempt: invocation.attempt, redelivered: invocation.redelivered };
        let fan_in = engine.do_segment(held, &loaded, delivery, work).await?;
        Ok(match fan_in {
            FanIn::Complete => Effects::publish(&ReplicateSegmentsCopied { job }),
            FanIn::Pending => Effects::none(),
        })
    }
}
