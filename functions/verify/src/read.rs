use std::sync::Arc;

use bytes::Bytes;
use stillpoint_events::{Envelope, VerifySegmentPlanned, VerifySegmentsRead};
use stillpoint_format::limits;
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Delivery, Engine, FanIn, InHand, Plans, Segment};
use stillpoint_model::{Error, ErrorKind, JobId, Requests, Result};
use stillpoint_ports::{Cpu, Progress, execute};
use stillpoint_vault::{Name, Vault};

use crate::{
    pack,
    plan::{Lost, PackToRead, SegmentRead, VerifyPlan},
    survey::plainly,
};

/// Times that a pack is read before it counts as corrupt or unreadable.
const READS: u32 = 3;

/// Other packs that are tried where none of a segment can be read.
const PROBES: usize = 3;

/// What became of reading a pack.
enum Verdict {
    /// All of it is as written.
    Sound,
    /// It is not there.
    Missing,
    /// It is something else.
    Corrupt(Error),
    /// The store answers, but does not give it back: a bad sector, a right that is missing.
    Unread(Error),
}

/// Reads packs whole, one at a time.
pub struct Read {
    engine: Engine,
    cpu: Arc<dyn Cpu>,
    progress: Arc<dyn Progress>,
    plans: Plans<VerifyPlan>,
    in_hand: InHand,
}

impl Read {
    /// The handler over its ports.
    #[must_use]
    pub fn new(engine: Engine, cpu: Arc<dyn Cpu>, progress: Arc<dyn Progress>) -> Self {
        Self { engine, cpu, progress, plans: Plans::of("verify"), in_hand: InHand::default() }
    }

    async fn read_segment(&self, vault: &Vault, job: JobId, plan: &VerifyPlan, segment: &Segment) -> Result<SegmentRead> {
        let first = segment.first_page as usize;
        let packs = plan.packs.get(first..first + segment.pages as usize);
        let packs = packs.ok_or_else(|| Error::corrupt("a plan names no such packs"))?;
        let mut read = SegmentRead::default();
        let mut unread = None;
        for pack in packs {
            let (problem, was_read) = match self.look(vault, pack).await? {
                Verdict::Sound => {
                    read.packs += 1;
                    read.bytes += pack.size_bytes;
                    (None, true)
                }
                Verdict::Missing => (Some("missing".to_owned()), false),
                Verdict::Corrupt(error) => (Some(format!("corrupt: {}", error.one_line())), true),
                Verdict::Unread(error) => {
                    let problem = plainly(&pack.name, &error.one_line());
                    unread = unread.or(Some(error));
                    (Some(problem), true)
                }
            };
            let lost = |problem| Lost { object: pack.name.clone(), problem, size_bytes: Some(pack.size_bytes), read: was_read };
            read.lost.extend(problem.map(lost));
            self.progress.moved(job, pack.size_bytes);
        }
        match unread {
            // Where nothing can be read it is not the packs that are at fault.
            Some(error) if read.packs == 0 && !reads_others(vault, &read.lost).await? => Err(error),
            _ => Ok(read),
        }
    }

    /// Reads a pack, more than once where something is wrong: what went wrong on the way does not go wrong again.
    async fn look(&self, vault: &Vault, pack: &PackToRead) -> Result<Verdict> {
        let mut verdict = Verdict::Missing;
        for _ in 0..READS {
            let checked = match vault.store().get(&pack.name, limits::PACK_BYTES_MAX as u64).await {
                Ok(bytes) => self.check(vault, pack, bytes).await,
                Err(error) => Err(error),
            };
            let Err(error) = checked else { return Ok(Verdict::Sound) };
            verdict = match error.kind() {
                ErrorKind::Missing => Verdict::Missing,
                ErrorKind::Corrupt => Verdict::Corrupt(error),
                ErrorKind::Unavailable | ErrorKind::Denied => {
                    // A store that does not answer at all says so again.
                    let folder = pack.name.rsplit_once('/').map_or("", |(folder, _)| folder);
                    vault.store().list(folder).await?;
                    Verdict::Unread(error)
                }
                _ => return Err(error),
            };
        }
        Ok(verdict)
    }

    async fn check(&self, vault: &Vault, pack: &PackToRead, bytes: Bytes) -> Result<()> {
        if bytes.len() as u64 != pack.size_bytes {
            return Err(Error::corrupt(format!("{} bytes long, not {} as written", bytes.len(), pack.size_bytes)));
        }
        let (keys, pack) = (Arc::clone(vault.keys()), pack.pack()?);
        execute(&*self.cpu, move || pack::check(&keys, &pack, &bytes)).await?
    }
}

/// Whether any pack beside these can be read.
async fn reads_others(vault: &Vault, lost: &[Lost]) -> Result<bool> {
    let is_lost = |name: &str| lost.iter().any(|lost| lost.object == name);
    let others = vault.store().list(Name::PACKS).await?.into_iter().filter(|entry| !is_lost(&entry.name));
    for other in others.take(PROBES) {
        if vault.store().get_range(&other.name, 0..1).await.is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Handler for Read {
    type Event = VerifySegmentPlanned;

    async fn handle(&self, event: Envelope<VerifySegmentPlanned>, invocation: &Invocation) -> Result<Effects> {
        let VerifySegmentPlanned { job, segment: number } = event.data;
        let engine = self.engine.metered();
        let loaded = self.plans.get(&engine, job).await?;
        let segment = loaded.segment(number)?;
        let held = self.in_hand.take(job, number);
        let work =
            async { Ok((self.read_segment(engine.vault(), job, &loaded.plan.detail, segment).await?, Requests::default())) };
        let delivery = Delivery { attempt: invocation.attempt, redelivered: invocation.redelivered };
        let fan_in = engine.do_segment(held, &loaded, delivery, work).await?;
        Ok(match fan_in {
            FanIn::Complete => Effects::publish(&VerifySegmentsRead { job }),
            FanIn::Pending => Effects::none(),
        })
    }
}
