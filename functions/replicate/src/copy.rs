use std::sync::Arc;

use stillpoint_events::{Envelope, ReplicateSegmentPlanned, ReplicateSegmentsCopied};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Delivery, Engine, FanIn, InHand, Plans, Segment};
use stillpoint_model::{Error, ErrorKind, ItemName, JobId, Result};
use stillpoint_ports::Progress;
use stillpoint_vault::{Name, Vault, put};

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

    /// Which packs may have been copied since they were planned: any, if this was tried before; those of other machines, if the job is of one
    /// machine: there are many such at a time.
    async fn doubts(&self, job: JobId, invocation: &Invocation) -> Result<impl Fn(&PackToCopy) -> bool + use<>> {
        let job = self.engine.job_as_seen(job).await?;
        let repeated = invocation.redelivered || job.newest.tries > 1;
        let own = job.request.what.item().cloned();
        let is_of = |pack: &PackToCopy, own: &ItemName| matches!(pack.name.parse(), Ok(Name::Pack { item, .. }) if item == *own);
        Ok(move |pack: &PackToCopy| repeated || own.as_ref().is_some_and(|own| !is_of(pack, own)))
    }

    async fn copy_segment(
        &self,
        (primary, replica): (&Vault, &Vault),
        job: JobId,
        plan: &ReplicatePlan,
        segment: &Segment,
        is_doubtful: impl Fn(&PackToCopy) -> bool,
    ) -> Result<SegmentCopied> {
        let first = segment.first_page as usize;
        let packs = plan.packs.get(first..first + segment.pages as usize);
        let packs = packs.ok_or_else(|| Error::corrupt("a plan names no such packs"))?;
        let mut copied = SegmentCopied::default();
        for pack in packs {
            let is_there = is_doubtful(pack) && replica.absence(&pack.name, pack.size_bytes).await?.is_none();
            if !is_there {
                match copy(primary, replica, pack).await {
                    Ok(bytes) => copied.bytes += bytes,
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

/// Copies a pack of the size that was written, and returns that. Where both vaults are in one store, the store moves the bytes.
async fn copy(primary: &Vault, replica: &Vault, pack: &PackToCopy) -> Result<u64> {
    if replica.store().is_one_with(primary.store()) {
        match replica.store().copy_from(primary.store(), &pack.name, pack.size_bytes).await {
            Ok(()) => return Ok(pack.size_bytes),
            // Whatever it is, the longer way tells.
            Err(error) => tracing::debug!(pack = pack.name, "not copied by the store: {}", error.one_line()),
        }
    }
    let bytes = primary.store().get(&pack.name, pack.size_bytes).await?;
    if bytes.len() as u64 == pack.size_bytes {
        put(replica, &pack.name, bytes).await
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
            let doubts = self.doubts(job, invocation).await?;
            let detail = self.copy_segment((&primary, engine.vault()), job, &loaded.plan.detail, segment, doubts).await?;
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
