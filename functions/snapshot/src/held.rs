use stillpoint_jobs::{BackupPlan, Engine, Job, KeptSnapshot, Loaded, Operation, Plan};
use stillpoint_model::{ErrorKind, Result};
use stillpoint_ports::{Ending, Holding, Platforms};

/// Processes that try to give a snapshot back before the job ends without: it must end, and must not keep the machine from its
/// next backup.
const TRIES_MAX: u32 = 5;

/// The snapshot that a backup holds on its platform.
pub(crate) struct Held<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) platforms: &'a Platforms,
    pub(crate) job: &'a Job,
    pub(crate) ending: Ending,
}

/// What becomes of a snapshot at the end of its job.
pub(crate) enum Fate {
    /// It is gone.
    GivenBack,
    /// It is kept, and can be read.
    Kept(KeptSnapshot),
    /// It is there, and the operator is told why.
    Stuck(String),
}

impl Held<'_> {
    /// The plan, if there is one that can be read. A record that is damaged must not keep a snapshot alive: without one what a job holds
    /// is found beside its disks.
    async fn plan(&self) -> Result<Option<Plan<BackupPlan>>> {
        match self.engine.plan_if_made::<BackupPlan>(self.job.id).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
            Ok(Some(Loaded { plan, .. })) => Ok(Some(plan)),
            Ok(None) | Err(_) => Ok(None),
        }
    }

    /// Gives back whatever the job holds. That it is not kept goes on record first: a process that is about to put on record that it is
    /// kept comes too late then, whenever it goes on.
    pub(crate) async fn give_back(&self) -> Result<()> {
        self.record().await?;
        self.release().await
    }

    /// The same, also for what a late process has taken that the plan knows nothing of.
    pub(crate) async fn give_back_anew(&self) -> Result<()> {
        self.record().await?;
        self.release_anew().await
    }

    /// Gives back what was kept. That is on record last: until then the timer asks for it.
    pub(crate) async fn expire(&self) -> Result<()> {
        self.release().await?;
        self.record().await
    }

    /// Releases what the job holds, found by its plan or, without one, beside its disks.
    async fn release(&self) -> Result<()> {
        let Some(Plan { detail, .. }) = self.plan().await? else { return self.release_anew().await };
        self.platforms.get(&detail.platform)?.release(self.job.id, Holding::Snapshot(&detail.snapshot), self.ending).await
    }

    /// Releases whatever lies beside the machine's disks, as its record names them now.
    async fn release_anew(&self) -> Result<()> {
        let Some(name) = self.job.request.what.item() else { return Ok(()) };
        let item = self.engine.vault().item(name).await?;
        self.platforms.get(&item.platform)?.release(self.job.id, Holding::Machine(&item.source()), self.ending).await
    }

    /// Puts on record that a snapshot is gone, or goes, which was to be kept.
    async fn record(&self) -> Result<()> {
        match &self.job.request.what {
            Operation::Backup { item, instant_restore_seconds: 1.., .. } => self.engine.record_release(item, self.job.id).await,
            _ => Ok(()),
        }
    }

    /// The snapshot, if it is to be kept, was not given back, its time is not over, and its disks are what they were. That it is kept is on
    /// record then. Rests on the plan and not on a listing: one that left the record out would cost the snapshot.
    pub(crate) async fn kept(&self) -> Result<Option<KeptSnapshot>> {
        let now = self.engine.vault().clock().now();
        let Some(plan) = self.plan().await? else { return Ok(None) };
        let Some(kept) = KeptSnapshot::of(self.job, &plan).filter(|kept| kept.until > now) else { return Ok(None) };
        if self.engine.is_given_back(&kept).await? {
            return Ok(None);
        }
        let platform = self.platforms.get(&plan.detail.platform)?;
        for disk in &plan.detail.snapshot.disks {
            let is_there = async { platform.open(disk).await?.confirm().await };
            match is_there.await {
                Err(error) if matches!(error.kind(), ErrorKind::Missing | ErrorKind::Conflict) => return Ok(None),
                other => other?,
            }
        }
        self.engine.keep_snapshot(&kept).await?;
        // Another copy of the event may have found the disks gone meanwhile, put that on record, and ended the job.
        if self.engine.is_given_back(&kept).await? {
            return Ok(None);
        }
        Ok(Some(kept))
    }

    async fn settle(&self) -> Result<Fate> {
        match self.kept().await? {
            Some(kept) => Ok(Fate::Kept(kept)),
            None => self.give_back().await.map(|()| Fate::GivenBack),
        }
    }

    /// Gives the snapshot back, unless it is kept.
    ///
    /// # Errors
    /// `unavailable`: the job is not over yet, since a snapshot that nobody gives back fills the machine's disks.
    pub(crate) async fn settle_or_explain(&self, keep: bool) -> Result<Fate> {
        let settled = if keep { self.settle().await } else { self.give_back().await.map(|()| Fate::GivenBack) };
        match settled {
            Err(error) if error.kind() == ErrorKind::Unavailable && self.job.newest.tries < TRIES_MAX => Err(error),
            Err(error) => Ok(Fate::Stuck(format!("the snapshot could not be given back: {}", error.one_line()))),
            settled => settled,
        }
    }
}
