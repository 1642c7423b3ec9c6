use std::sync::{Arc, Mutex, PoisonError};

use stillpoint_events::{Envelope, SegmentPlanned, SegmentsTransferred};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Delivery, Engine, FanIn, InHand};
use stillpoint_model::{JobId, Requests, Result};
use stillpoint_ports::{Cpu, Platforms, Progress};

use crate::{basis::Basis, buffers::Buffers, segment::Step, throttle::Throttle};

/// Jobs whose plan and reference points are kept in memory between segments.
const JOBS_KEPT: usize = 4;

/// A job's basis, or the place where its first segment will put it.
type Slot = Arc<tokio::sync::OnceCell<Arc<Basis>>>;

/// Moves segments.
pub struct Transfer {
    engine: Engine,
    platforms: Platforms,
    cpu: Arc<dyn Cpu>,
    progress: Arc<dyn Progress>,
    level: i32,
    buffers: Arc<Buffers>,
    bases: Mutex<Vec<(JobId, Slot)>>,
    in_hand: InHand,
    throttle: Throttle,
}

impl Transfer {
    /// The handler over its ports; `level` is the zstd level.
    #[must_use]
    pub fn new(engine: Engine, platforms: Platforms, cpu: Arc<dyn Cpu>, progress: Arc<dyn Progress>, level: i32) -> Self {
        Self {
            engine,
            platforms,
            cpu,
            progress,
            level,
            buffers: Arc::default(),
            bases: Mutex::default(),
            in_hand: InHand::default(),
            throttle: Throttle::default(),
        }
    }

    /// The job's plan and reference points; read once, whichever of its segments comes first.
    async fn basis(&self, engine: &Engine, job: JobId) -> Result<Arc<Basis>> {
        let cell = {
            let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
            match bases.iter().find(|(known, _)| *known == job) {
                Some((_, cell)) => Arc::clone(cell),
                None => {
                    bases.truncate(JOBS_KEPT - 1);
                    bases.insert(0, (job, Arc::default()));
                    Arc::clone(&bases[0].1)
                }
            }
        };
        cell.get_or_try_init(|| async { Basis::load(engine, job).await.map(Arc::new) }).await.cloned()
    }
}

impl Handler for Transfer {
    type Event = SegmentPlanned;

    async fn handle(&self, event: Envelope<SegmentPlanned>, invocation: &Invocation) -> Result<Effects> {
        let SegmentPlanned { job, segment } = event.data;
        let engine = self.engine.metered();
        let basis = match self.basis(&engine, job).await {
            Err(error) => return Err(engine.unless_stray(job, "backup", error).await),
            Ok(basis) => basis,
        };
        basis.loaded.segment(segment)?;
        let held = self.in_hand.take(job, segment);
        let work = async {
            let step = Step {
                engine: &engine,
                basis: &basis,
                platform: self.platforms.get(&basis.loaded.plan.detail.platform)?,
                cpu: &*self.cpu,
                progress: &*self.progress,
                buffers: &self.buffers,
                throttle: &self.throttle,
                level: self.level,
                number: segment,
                attempt: invocation.attempt,
            };
            Ok((step.run().await?, Requests::default()))
        };
        let delivery = Delivery { attempt: invocation.attempt, redelivered: invocation.redelivered };
        let fan_in = engine.do_segment(held, &basis.loaded, delivery, work).await?;
        Ok(match fan_in {
            FanIn::Complete => Effects::publish(&SegmentsTransferred { job }),
            FanIn::Pending => Effects::none(),
        })
    }
}
