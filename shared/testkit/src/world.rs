use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use object_store::path::Path;
use stillpoint_events::Outgoing;
use stillpoint_format::Secret;
use stillpoint_handler::Functions;
use stillpoint_jobs::{Carrier, Engine, Job, KeptSnapshot, Operation, Place, Request, Wiring};
use stillpoint_model::{Consistency, DiskName, Error, ItemName, JobId, PointId, Result};
use stillpoint_notify::Telling;
use stillpoint_ports::{Clock, DiskSource, Platforms, TargetDisk};
use stillpoint_runtime::{Host, JobLock, adopt_unfinished, begin_backup, begin_job};
use stillpoint_store::Store;
use stillpoint_vault::{Draft, Item, Point, PointDisk, Vault};

use crate::{
    Content, Courier, Disk, FaultyStore, InlineCpu, Manners, MemoryPlatform, MemoryRegions, MemoryTarget, SITE, TestClock,
    TestRandom,
};

/// Name of the platform under which a world's machines are known.
pub const ITEM_PLATFORM: &str = "memory";
const HOST: &str = "testhost";
/// Where a world's vault lies.
pub(crate) const URL: &str = "memory:///";
/// Events under way at once.
const IN_FLIGHT: usize = 3;
/// Fast, and frames still shrink.
const LEVEL: i32 = 1;

/// One process over a vault, a hypervisor and a place for restored disks that outlive it.
///
/// Two worlds of one seed may exist one after the other, not at once in one process: jobs of the same id would meet at their
/// lock, which the whole machine knows. For the same reason a test binary that forks worlds starts no programs: until such a child has
/// replaced itself it holds every lock that its parent held, and the next fork's job of the same id finds it taken.
pub struct World {
    /// What lies in the vault's store.
    pub content: Content,
    /// This process's connection to it.
    pub store: FaultyStore,
    /// The hypervisor.
    pub platform: Arc<MemoryPlatform>,
    /// Where restores go.
    pub target: MemoryTarget,
    /// Time.
    pub clock: Arc<TestClock>,
    /// The opened vault and its jobs.
    pub engine: Engine,
    /// How the vault and its replica reach each other.
    pub regions: MemoryRegions,
    pub(crate) url: &'static str,
    pub(crate) random: Arc<TestRandom>,
    pub(crate) secret: Secret,
}

/// What restoring a point gave.
#[derive(Debug)]
pub enum Verdict {
    /// The disks, as they were at its snapshot.
    Same,
    /// Nothing, and why.
    Refused(Error),
    /// Something else, and where.
    Differs(String),
}

/// A vault in `content`, seen by one process.
pub(crate) fn over(content: &Content, seed: u64, url: &str) -> (FaultyStore, Store) {
    let faulty = FaultyStore::new(content.clone(), seed);
    (faulty.clone(), Store::new(Arc::new(faulty), Path::default(), url))
}

impl World {
    /// A world with an empty vault and no machine; everything in it follows from `seed`.
    ///
    /// # Errors
    /// As making a vault.
    pub async fn new(seed: u64) -> Result<Self> {
        Self::at(seed, TestClock::new()).await
    }

    /// As [`World::new`], by this clock.
    ///
    /// # Errors
    /// As making a vault.
    pub async fn at(seed: u64, clock: TestClock) -> Result<Self> {
        let (clock, random) = (Arc::new(clock), Arc::new(TestRandom::new(seed)));
        let content = Content::default();
        let (store, opened) = over(&content, random.next(), URL);
        let regions = MemoryRegions::default();
        regions.reach(URL, &store);
        let draft = Draft::prepare(opened, Arc::<TestClock>::clone(&clock), Arc::<TestRandom>::clone(&random)).await?;
        let secret = draft.secrets[0].1;
        let engine = Engine::new(draft.commit().await?);
        store.reset();
        let platform = Arc::new(MemoryPlatform::new(Arc::clone(&clock)));
        Ok(Self { content, store, platform, target: MemoryTarget::default(), clock, engine, regions, url: URL, random, secret })
    }

    /// The world's vault as another process sees it, through a connection and by a clock of its own.
    ///
    /// # Errors
    /// As opening the vault.
    pub async fn open(&self, store: &FaultyStore, clock: Arc<dyn Clock>, random: Arc<TestRandom>) -> Result<Vault> {
        let store = Store::new(Arc::new(store.clone()), Path::default(), URL);
        Vault::open(store, &self.secret, clock, random).await
    }

    async fn process(&self, content: Content, platform: Arc<MemoryPlatform>, target: MemoryTarget) -> Result<Self> {
        let (clock, random) = (Arc::clone(&self.clock), Arc::clone(&self.random));
        let (store, opened) = over(&content, random.next(), self.url);
        self.regions.reach(self.url, &store);
        let vault = Vault::open(opened, &self.secret, Arc::<TestClock>::clone(&clock), Arc::<TestRandom>::clone(&random)).await?;
        store.reset();
        Ok(Self {
            content,
            store,
            platform,
            target,
            clock,
            engine: Engine::new(vault),
            regions: self.regions.clone(),
            url: self.url,
            random,
            secret: self.secret,
        })
    }

    /// The next process, after this one has died or ended.
    ///
    /// # Errors
    /// As opening the vault.
    pub async fn restart(&self) -> Result<Self> {
        self.process(self.content.clone(), Arc::clone(&self.platform), self.target.clone()).await
    }

    /// A copy of everything that goes its own way from here, the same way each time.
    ///
    /// # Errors
    /// As opening the vault.
    pub async fn fork(&self) -> Result<Self> {
        let clock = Arc::new(self.clock.fork());
        let forked = Self {
            content: self.content.fork(),
            store: self.store.clone(),
            platform: Arc::new(self.platform.fork(Arc::clone(&clock))),
            target: self.target.fork(),
            engine: self.engine.clone(),
            regions: MemoryRegions::default(),
            url: self.url,
            random: Arc::new(self.random.fork()),
            clock,
            secret: self.secret,
        };
        forked.restart().await
    }

    /// The vault.
    #[must_use]
    pub const fn vault(&self) -> &Vault {
        self.engine.vault()
    }

    /// Where its jobs run.
    pub(crate) fn place(&self) -> Place {
        Place { site: SITE.to_owned(), host: HOST.to_owned(), carrier: Carrier::Process }
    }

    pub(crate) fn wiring(&self) -> Wiring {
        let platform = Arc::<MemoryPlatform>::clone(&self.platform);
        Wiring {
            engine: self.engine.clone(),
            place: self.place(),
            platforms: Platforms::default().with(ITEM_PLATFORM, platform),
            target: Arc::new(self.target.clone()),
            cpu: Arc::new(InlineCpu),
            progress: Arc::new(()),
            regions: Arc::new(self.regions.clone()),
            level: LEVEL,
        }
    }

    /// All functions but the timer's, wired to this world.
    #[must_use]
    pub fn functions(&self) -> Functions {
        Self::wired(&self.wiring(), Telling::Elsewhere)
    }

    /// All functions but the timer's, wired so.
    #[must_use]
    pub fn wired(wiring: &Wiring, telling: Telling) -> Functions {
        stillpoint_snapshot::functions(wiring)
            .and(stillpoint_transfer::functions(wiring))
            .and(stillpoint_commit::functions(wiring))
            .and(stillpoint_restore::functions(wiring))
            .and(stillpoint_prune::functions(wiring))
            .and(stillpoint_collect::functions(wiring))
            .and(stillpoint_verify::functions(wiring))
            .and(stillpoint_replicate::functions(wiring))
            .and(stillpoint_notify::functions(wiring, telling))
    }

    /// Protects a machine with these disks, or changes which disks it has. Its disk `d` lies at `machine/d` on the platform.
    ///
    /// # Errors
    /// As the vault.
    pub async fn protect(&self, item: &ItemName, disks: &[DiskName]) -> Result<()> {
        let source = |name: &DiskName| DiskSource { name: name.clone(), location: format!("{item}/{name}") };
        let item = Item::new(item.clone(), ITEM_PLATFORM, SITE, disks.iter().map(source).collect(), self.clock.now());
        self.vault().write_item(&item, true).await
    }

    /// Runs jobs as a process does, to their end.
    ///
    /// # Errors
    /// `unavailable` when a job did not end; as the store.
    pub async fn run(&self, jobs: &[JobId], events: Vec<Outgoing>, locks: Vec<JobLock>) -> Result<Vec<Job>> {
        let clock = Arc::<TestClock>::clone(&self.clock);
        let mut ended = Host::new(self.engine.clone(), self.functions(), clock, IN_FLIGHT).run(events, locks).await;
        let mut results = Vec::with_capacity(jobs.len());
        for id in jobs {
            let job = self.engine.job(*id).await?;
            if !job.state().is_end() {
                let why = ended.remove(id).unwrap_or_else(|| Error::unavailable("it did not end"));
                return Err(Error::unavailable(format!("job {id} is unfinished")).with_source(why));
            }
            results.push(job);
        }
        Ok(results)
    }

    /// Takes on what earlier processes left and brings it to its end, as every command does first.
    ///
    /// # Errors
    /// As [`World::run`].
    pub async fn take_on(&self) -> Result<Vec<Job>> {
        let mut adopted = adopt_unfinished(&self.engine, HOST).await?;
        let kept = self.engine.kept_snapshots().await?;
        adopted.events.extend(self.engine.expired_snapshots(&kept, HOST, Carrier::Process, |_| false).await?);
        let jobs: Vec<JobId> = adopted.jobs.iter().map(|job| job.id).collect();
        self.run(&jobs, adopted.events, adopted.locks).await
    }

    fn backup_of(item: &ItemName) -> Operation {
        Self::keeping_backup_of(item, 0)
    }

    fn keeping_backup_of(item: &ItemName, instant_restore_seconds: u32) -> Operation {
        Operation::Backup {
            item: item.clone(),
            wanted: Consistency::Crash,
            keep_until: None,
            slot: None,
            instant_restore_seconds,
            snapshot_only: false,
        }
    }

    /// Backs a machine up and returns the ended job.
    ///
    /// # Errors
    /// As [`begin_backup`] and [`World::run`].
    pub async fn backup(&self, item: &ItemName) -> Result<Job> {
        let begun = begin_backup(&self.engine, Self::request(Self::backup_of(item))).await?;
        self.only(self.run(&[begun.job.id], begun.events, begun.lock.into_iter().collect()).await?)
    }

    /// Backs a machine up, keeps the snapshot for so many seconds, and returns the ended job.
    ///
    /// # Errors
    /// As [`World::backup`].
    pub async fn backup_keeping(&self, item: &ItemName, seconds: u32) -> Result<Job> {
        let begun = begin_backup(&self.engine, Self::request(Self::keeping_backup_of(item, seconds))).await?;
        self.only(self.run(&[begun.job.id], begun.events, begun.lock.into_iter().collect()).await?)
    }

    /// Runs a task of the vault and returns its ended job.
    ///
    /// # Errors
    /// As [`begin_job`] and [`World::run`].
    pub async fn task(&self, what: Operation) -> Result<Job> {
        let begun = begin_job(&self.engine, Self::request(what)).await?;
        self.only(self.run(&[begun.job.id], begun.events, begun.lock.into_iter().collect()).await?)
    }

    /// Backs a machine up through a courier and returns the ended job.
    ///
    /// # Errors
    /// As [`begin_backup`] and [`Courier::deliver`].
    pub async fn backup_by(&self, item: &ItemName, seed: u64, manners: Manners) -> Result<Job> {
        let begun = begin_backup(&self.engine, Self::request(Self::backup_of(item))).await?;
        self.courier(seed, manners).deliver(begun.job.id, begun.events).await?;
        self.engine.job(begun.job.id).await
    }

    fn request(what: Operation) -> Request {
        Request { what, host: HOST.to_owned(), carrier: Carrier::Process }
    }

    fn courier(&self, seed: u64, manners: Manners) -> Courier {
        Courier::new(self.engine.clone(), self.functions(), Arc::clone(&self.clock), seed, manners)
    }

    /// Where a restore of this point puts its disks, under `folder`.
    #[must_use]
    pub fn places(point: &Point, folder: &str) -> Vec<TargetDisk> {
        Self::places_of(&point.disks, folder)
    }

    /// The same for these disks.
    #[must_use]
    pub fn places_of(disks: &[PointDisk], folder: &str) -> Vec<TargetDisk> {
        let place = |disk: &PointDisk| TargetDisk {
            limits: None,
            name: disk.name.clone(),
            size_bytes: disk.size_bytes,
            data_bytes: disk.size_bytes,
            location: format!("{folder}/{}", disk.name),
            overwrite: false,
            keep_replaced: false,
        };
        disks.iter().map(place).collect()
    }

    /// Restores a point under `folder` and returns the ended job.
    ///
    /// # Errors
    /// As [`begin_job`] and [`World::run`].
    pub async fn restore(&self, item: &ItemName, id: PointId, folder: &str) -> Result<Job> {
        let disks = Self::places(&self.vault().point(item, id).await?, folder);
        let what = Operation::Restore { item: item.clone(), point: id, disks, snapshot: None, estimated_ms: None, order: None };
        let begun = begin_job(&self.engine, Self::request(what)).await?;
        self.only(self.run(&[begun.job.id], begun.events, begun.lock.into_iter().collect()).await?)
    }

    /// Restores a point through a courier, under `folder`, and returns the ended job.
    ///
    /// # Errors
    /// As [`begin_job`] and [`Courier::deliver`].
    pub async fn restore_by(&self, item: &ItemName, id: PointId, folder: &str, seed: u64, manners: Manners) -> Result<Job> {
        let disks = Self::places(&self.vault().point(item, id).await?, folder);
        let what = Operation::Restore { item: item.clone(), point: id, disks, snapshot: None, estimated_ms: None, order: None };
        let begun = begin_job(&self.engine, Self::request(what)).await?;
        self.courier(seed, manners).deliver(begun.job.id, begun.events).await?;
        self.engine.job(begun.job.id).await
    }

    /// Restores the kept snapshot of backup `of`, under `folder`, and returns the ended job.
    ///
    /// # Errors
    /// `missing` when it is not kept; as [`begin_job`] and [`World::run`].
    pub async fn restore_snapshot(&self, of: JobId, folder: &str) -> Result<Job> {
        let listing = self.engine.kept_snapshot_of(&self.engine.job(of).await?).await?;
        let listing = listing.ok_or_else(|| Error::missing(format!("job {of} keeps no snapshot")))?;
        let KeptSnapshot { item, point, disks, .. } = self.engine.read_kept(&listing).await?;
        let disks = Self::places_of(&disks, folder);
        let begun = begin_job(
            &self.engine,
            Self::request(Operation::Restore { item, point, disks, snapshot: Some(of), estimated_ms: None, order: None }),
        )
        .await?;
        self.only(self.run(&[begun.job.id], begun.events, begun.lock.into_iter().collect()).await?)
    }

    /// What is wrong with kept snapshots whose time is not over: each is restored and compared with what the disks were.
    ///
    /// # Errors
    /// As the store.
    pub async fn wrong_snapshots(&self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for listing in self.engine.kept_snapshots().await?.into_iter().filter(|kept| !kept.is_over(self.clock.now())) {
            let (id, kept) = (listing.job, self.engine.read_kept(&listing).await?);
            let folder = format!("kept-{}", self.random.next());
            let job = self.restore_snapshot(id, &folder).await?;
            let shown = self.platform.shown(id, kept.instant).unwrap_or_default();
            for (name, disk) in &shown {
                let restored = self.target.take(&format!("{folder}/{name}"));
                if restored.as_ref().is_none_or(|restored| disk.difference(restored).is_some()) {
                    wrong.push(format!("the snapshot of job {id} does not restore disk {name}: {:?}", job.newest.reason));
                }
            }
            if shown.len() != kept.disks.len() {
                wrong.push(format!("job {id} keeps a snapshot that it never took"));
            }
        }
        Ok(wrong)
    }

    fn only(&self, mut jobs: Vec<Job>) -> Result<Job> {
        jobs.pop().ok_or_else(|| Error::internal("a job has no result"))
    }

    /// A point's disks, read back by restoring it.
    ///
    /// # Errors
    /// As [`World::restore`]; `internal` with the reason when the restore failed.
    pub async fn read_back(&self, item: &ItemName, id: PointId) -> Result<BTreeMap<DiskName, Disk>> {
        let folder = format!("read-back-{}", self.random.next());
        let job = self.restore(item, id, &folder).await?;
        if let Some(reason) = &job.newest.reason {
            return Err(Error::internal(format!("point {id} does not restore: {reason}")));
        }
        let mut disks = BTreeMap::new();
        for place in Self::places(&self.vault().point(item, id).await?, &folder) {
            let disk = self.target.take(&place.location);
            disks.insert(place.name, disk.ok_or_else(|| Error::internal("a completed restore published nothing"))?);
        }
        Ok(disks)
    }

    /// What restoring each of a machine's committed points gives.
    ///
    /// # Errors
    /// As the store.
    pub async fn verdicts(&self, item: &ItemName) -> Result<Vec<(PointId, Verdict)>> {
        let mut verdicts = Vec::new();
        // What is being freed is promised to nobody any more.
        let condemned = self.vault().condemned().await?.points;
        for listing in self.vault().points(item).await? {
            if condemned.contains(&(item.clone(), listing.id)) {
                continue;
            }
            let verdict = match listing.point {
                Ok(point) => self.compare(item, &point).await,
                Err(error) => Verdict::Refused(error),
            };
            verdicts.push((listing.id, verdict));
        }
        Ok(verdicts)
    }

    /// What is wrong with a machine's committed points: each is restored and compared with what its job's snapshot showed.
    ///
    /// # Errors
    /// As the store.
    pub async fn wrong_points(&self, item: &ItemName) -> Result<Vec<String>> {
        let wrong = |(id, verdict): (PointId, Verdict)| match verdict {
            Verdict::Same => None,
            Verdict::Refused(error) => Some(format!("point {id}: {}", error.one_line())),
            Verdict::Differs(how) => Some(format!("point {id}: {how}")),
        };
        Ok(self.verdicts(item).await?.into_iter().filter_map(wrong).collect())
    }

    /// Restores a point and compares it with what its job's snapshot showed.
    async fn compare(&self, item: &ItemName, point: &Point) -> Verdict {
        let Some(taken) = self.platform.shown(point.job, point.instant) else {
            return Verdict::Differs("its job never took a snapshot at its instant".to_owned());
        };
        let back = match self.read_back(item, point.id).await {
            Ok(back) => back,
            Err(error) => return Verdict::Refused(error),
        };
        if taken.len() != back.len() {
            return Verdict::Differs("it is of other disks than its job's snapshot".to_owned());
        }
        for (name, disk) in taken {
            let Some(restored) = back.get(&name) else { return Verdict::Differs(format!("it has no disk {name}")) };
            if let Some(at) = disk.difference(restored).filter(|_| !self.was_forgotten(item, point, (&name, &disk), restored)) {
                return Verdict::Differs(format!("disk {name} differs from its snapshot at byte {at}"));
            }
        }
        Verdict::Same
    }

    /// Whether all in which a restored disk differs is what the platform has forgotten to tell of: nobody can know that before the disks are
    /// read as a whole.
    #[must_use]
    pub fn was_forgotten(&self, item: &ItemName, point: &Point, (name, disk): (&DiskName, &Disk), restored: &Disk) -> bool {
        let untold = self.platform.untold(&format!("{item}/{name}"));
        point.source_compared.is_some()
            && disk.size_bytes() == restored.size_bytes()
            && disk.differing_blocks(restored).is_subset(&untold)
    }

    /// What is wrong when nothing should be under way: jobs that have not ended, snapshots not given back, restores left half
    /// done, and what the vault's audit finds.
    ///
    /// # Errors
    /// As the store.
    pub async fn leftovers(&self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        wrong.extend(self.engine.unfinished().await?.iter().map(|job| format!("job {job} has not ended")));
        let now = self.clock.now();
        let kept = self.engine.kept_snapshots().await?.into_iter().filter(|kept| !kept.is_over(now)).map(|kept| kept.job);
        let kept: BTreeSet<JobId> = kept.collect();
        let held: BTreeSet<JobId> = self.platform.held().into_iter().collect();
        wrong.extend(held.difference(&kept).map(|job| format!("the snapshot of job {job} was not given back")));
        wrong.extend(kept.difference(&held).map(|job| format!("the snapshot of job {job} is to be kept and is gone")));
        wrong.extend(self.target.partial().iter().map(|job| format!("job {job} left a half restored disk")));
        let audit = self.vault().audit().await?;
        wrong.extend(audit.findings.iter().map(|found| format!("audit: {} {}", found.object, found.problem)));
        wrong.extend(audit.unknown.iter().map(|name| format!("audit: unknown object {name}")));
        Ok(wrong)
    }
}
