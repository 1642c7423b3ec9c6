//! An opened vault with everything that commands need around it.

use std::sync::Arc;

use stillpoint_events::Outgoing;
use stillpoint_handler::Functions;
use stillpoint_image::ImagePlatform;
use stillpoint_jobs::{Carrier, Engine, Job, Operation, Place, Request, Wiring};
use stillpoint_model::{Error, JobId, JobState, Result};
use stillpoint_ports::{Clock, Cpu, Platforms, Progress, Random, Target};
use stillpoint_qemu::{LibvirtPlatform, QemuPlatform};
use stillpoint_runtime::{Begun, Ended, Host, HostReads, JobLock, adopt_unfinished, begin_job, host_name, segments_in_flight};
use stillpoint_staging::Staging;
use stillpoint_store::{Access, Store};
use stillpoint_system::{CpuPool, SystemClock, SystemRandom};
use stillpoint_vault::{ByUrl, Pairing, Regions, Vault};

use crate::{
    args::Global,
    disks,
    interrupt::Interrupt,
    key::Key,
    output,
    progress::{Display, Style},
    remote::{self, Remote},
    telling::telling,
};

/// The system's own clock and randomness.
pub fn system() -> (Arc<dyn Clock>, Arc<dyn Random>) {
    (Arc::new(SystemClock), Arc::new(SystemRandom::new()))
}

/// The vault's URL; a plain path means a directory.
pub fn vault_url(global: &Global) -> Result<String> {
    let given = global.vault.clone().ok_or_else(|| Error::invalid("which vault? give --vault URL or set STILLPOINT_VAULT"))?;
    if given.contains("://") {
        return Ok(given);
    }
    let path = disks::location(given.as_ref())?;
    let url = url::Url::from_directory_path(&path).map_err(|()| Error::invalid(format!("'{path}' cannot be a vault")))?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// See the module.
pub struct Session {
    pub global: Global,
    pub vault: Vault,
    pub engine: Engine,
    pub platforms: Platforms,
    pub target: Arc<dyn Target>,
    pub cpu: Arc<dyn Cpu>,
    pub key: Key,
    /// Who carries jobs, where it is not this process.
    pub remote: Option<Remote>,
    place: Place,
    clock: Arc<dyn Clock>,
}

impl Session {
    /// Opens the vault that the options name.
    pub async fn open(global: Global) -> Result<Self> {
        let (clock, random) = system();
        let store = Store::open(&vault_url(&global)?, Access::Existing, Arc::clone(&clock))?;
        let identity = Vault::identify(&store).await?;
        let key = Key::at_hand(&global, identity.id)?;
        let vault = key.open(store, Arc::clone(&clock), random).await?;
        Self::around(global, vault, key, clock)
    }

    /// Opens the vault that the options name, or that `from` names instead: its replica (`paired`), or a URL.
    pub async fn open_from(global: Global, from: Option<&str>) -> Result<Self> {
        match from {
            None => Self::open(global).await,
            Some("paired") => {
                let primary = Self::open(global).await.map_err(|error| {
                    error.context("which vault the paired one is says the vault itself; give --from URL if it is lost")
                })?;
                let pairing = primary.vault.pairing().await?;
                let none = || Error::invalid("this vault has no replica; see `stillpoint vault pair`");
                primary.other(&pairing.ok_or_else(none)?).await
            }
            Some(url) => Self::open(Global { vault: Some(url.to_owned()), ..global }).await,
        }
    }

    /// A session over the other half of the vault's pair.
    pub async fn other(&self, pairing: &Pairing) -> Result<Self> {
        Self::open(Global { vault: Some(pairing.other.clone()), ..self.global.clone() }).await
    }

    /// A session over a vault that is open already.
    fn around(global: Global, vault: Vault, key: Key, clock: Arc<dyn Clock>) -> Result<Self> {
        let platforms = Platforms::default()
            .with("image", Arc::new(ImagePlatform::new(Arc::clone(&clock))))
            .with("qemu", Arc::new(QemuPlatform::new(Arc::clone(&clock))))
            .with("libvirt", Arc::new(LibvirtPlatform::new(Arc::clone(&clock))));
        let platforms = match global.reads_per_second {
            Some(per_second) => HostReads::of_host(per_second)?.over(&platforms),
            None => platforms,
        };
        let cpu: Arc<dyn Cpu> = Arc::new(CpuPool::default());
        let target: Arc<dyn Target> = Arc::new(Staging::new(Arc::clone(&clock)));
        let engine = Engine::new(vault.clone());
        let remote = remote::broker(&global)?.map(|broker| Remote::new(broker, engine.clone()));
        let site = remote::site(&global)?;
        let place = match remote {
            Some(_) => Place::of_site(site.as_str()),
            None => Place { site: site.to_string(), host: host_name(), carrier: Carrier::Process },
        };
        Ok(Self { global, engine, vault, platforms, target, cpu, key, remote, place, clock })
    }

    /// How the other half of a pair is reached.
    pub fn regions(&self) -> Arc<dyn Regions> {
        Arc::new(ByUrl(Arc::clone(&self.clock)))
    }

    /// The ports of every function.
    pub fn wiring(&self, progress: Arc<dyn Progress>) -> Wiring {
        Wiring {
            engine: self.engine.clone(),
            place: self.place.clone(),
            platforms: self.platforms.clone(),
            target: Arc::clone(&self.target),
            cpu: Arc::clone(&self.cpu),
            progress,
            regions: self.regions(),
            level: self.global.compression,
        }
    }

    /// Where jobs run that this session's functions begin.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Every function that works on jobs, wired to this session.
    pub fn functions(&self, progress: Arc<dyn Progress>) -> Functions {
        let wiring = self.wiring(progress);
        stillpoint_snapshot::functions(&wiring)
            .and(stillpoint_transfer::functions(&wiring))
            .and(stillpoint_commit::functions(&wiring))
            .and(stillpoint_restore::functions(&wiring))
            .and(stillpoint_prune::functions(&wiring))
            .and(stillpoint_collect::functions(&wiring))
            .and(stillpoint_verify::functions(&wiring))
            .and(stillpoint_replicate::functions(&wiring))
            .and(stillpoint_notify::functions(&wiring, telling(&self.global)))
    }

    /// Segments to work on at once.
    pub fn in_flight(&self) -> usize {
        self.global.in_flight.map_or_else(|| segments_in_flight(self.cpu.width()), usize::from)
    }

    /// How jobs are run here.
    fn host(&self, progress: Arc<dyn Progress>) -> Host {
        self.host_of(self.functions(progress), self.in_flight())
    }

    /// How `functions` are run here, with so many segments at once.
    pub fn host_of(&self, functions: Functions, in_flight: usize) -> Host {
        Host::new(self.engine.clone(), functions, Arc::clone(&self.clock), in_flight)
    }

    /// Finishes what earlier processes of this machine left unfinished. A job that cannot be finished now does not stand
    /// in the way of what the operator asked for.
    pub async fn take_on_unfinished(&self, interrupt: &mut Interrupt) -> Result<()> {
        if self.remote.is_some() {
            return Ok(());
        }
        let mut adopted = adopt_unfinished(&self.engine, &host_name()).await?;
        let kept = self.engine.kept_snapshots().await?;
        adopted.events.extend(self.engine.expired_snapshots(&kept, &host_name(), Carrier::Process, |_| false).await?);
        for (job, error) in &adopted.damaged {
            output::complain(&format!("warning: unfinished job {job} cannot be taken on: {}", error.one_line()));
        }
        for job in &adopted.jobs {
            let note = format!(
                "taking on job {} ({} of {}) from where it stopped",
                job.id,
                job.request.what.as_str(),
                job.request.what.subject()
            );
            if !self.global.json {
                output::line(&note);
            }
        }
        let jobs: Vec<JobId> = adopted.jobs.iter().map(|job| job.id).collect();
        if adopted.events.is_empty() {
            return Ok(());
        }
        let outcome = self.run(&jobs, adopted.events, adopted.locks, interrupt).await;
        if interrupt.heard() {
            return Err(Error::fenced("interrupted by the operator before the command itself began"));
        }
        if let Err(error) = outcome {
            output::complain(&format!("warning: {}", error.one_line()));
        }
        Ok(())
    }

    /// A request for a job at `site`, carried by whoever carries this command's jobs.
    pub fn request(&self, what: Operation, site: &str) -> Request {
        match self.remote {
            Some(_) => Request { what, host: site.to_owned(), carrier: Carrier::Broker },
            None => Request { what, host: host_name(), carrier: Carrier::Process },
        }
    }

    /// Runs a task of the vault and returns its ended job.
    pub async fn task(&self, what: Operation) -> Result<Job> {
        let mut interrupt = Interrupt::listen()?;
        self.take_on_unfinished(&mut interrupt).await?;
        let site = remote::site(&self.global)?;
        let begun = begin_job(&self.engine, self.request(what, site.as_str())).await?;
        let mut jobs = self.complete(vec![begun], &mut interrupt).await?;
        jobs.pop().ok_or_else(|| Error::internal("a job has no result"))
    }

    /// Sees jobs to their end; Ctrl-C cancels them. Returns what the ledgers say then.
    pub async fn complete(&self, begun: Vec<Begun>, interrupt: &mut Interrupt) -> Result<Vec<Job>> {
        let (mut jobs, mut events, mut locks) = (Vec::new(), Vec::new(), Vec::new());
        for one in begun {
            jobs.push(one.job.id);
            events.extend(one.events);
            locks.extend(one.lock);
        }
        match &self.remote {
            None => self.run(&jobs, events, locks, interrupt).await,
            Some(remote) => {
                remote.publish(&events).await?;
                self.wait(remote, &jobs, interrupt).await
            }
        }
    }

    /// Sees one job to its end beside others of this process, with `in_flight` segments of it at once; Ctrl-C cancels it. Returns what its
    /// ledger says then.
    pub async fn complete_beside(
        &self,
        begun: Begun,
        (display, in_flight): (&Arc<Display>, usize),
        interrupt: &mut Interrupt,
    ) -> Result<Job> {
        let id = begun.job.id;
        let jobs = match &self.remote {
            None => {
                let host = self.host_of(self.functions(Arc::<Display>::clone(display)), in_flight);
                self.run_at(&host, &[id], begun.events, begun.lock.into_iter().collect(), interrupt).await?
            }
            Some(_) => self.complete(vec![begun], interrupt).await?,
        };
        jobs.into_iter().next().ok_or_else(|| Error::internal("a job has no result"))
    }

    /// Waits for workers.
    async fn wait(&self, remote: &Remote, jobs: &[JobId], interrupt: &mut Interrupt) -> Result<Vec<Job>> {
        let display = self.display();
        let watched = interrupt.until(remote.watch(jobs, &display)).await;
        display.clear();
        match watched {
            Some(watched) => watched?,
            // Pressed again, it ends the command at once; the workers see to the rest.
            None => interrupt.until(remote.cancel(jobs)).await.unwrap_or(Ok(()))?,
        }
        let mut results = Vec::with_capacity(jobs.len());
        for id in jobs {
            let job = self.engine.job(*id).await?;
            if !job.state().is_end() {
                return Err(Error::unavailable(format!("job {id} has not ended yet; see `stillpoint jobs watch {id}`")));
            }
            results.push(job);
        }
        Ok(results)
    }

    /// Shows how far things are, in the way that suits where it goes.
    pub fn display(&self) -> Arc<Display> {
        let style = match (self.global.json, output::is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Bar,
            (false, false) => Style::Lines,
        };
        Arc::new(Display::new(style))
    }

    /// Runs jobs here to their end; Ctrl-C cancels them. Returns what the ledgers say then.
    async fn run(
        &self,
        jobs: &[JobId],
        events: Vec<Outgoing>,
        locks: Vec<JobLock>,
        interrupt: &mut Interrupt,
    ) -> Result<Vec<Job>> {
        let display = self.display();
        let host = self.host(Arc::<Display>::clone(&display));
        let results = self.run_at(&host, jobs, events, locks, interrupt).await;
        display.clear();
        results
    }

    async fn run_at(
        &self,
        host: &Host,
        jobs: &[JobId],
        events: Vec<Outgoing>,
        locks: Vec<JobLock>,
        interrupt: &mut Interrupt,
    ) -> Result<Vec<Job>> {
        let mut ended = match interrupt.until(host.run(events, locks)).await {
            Some(ended) => ended,
            // Pressed again, it ends the command at once; the next one gives back what the jobs hold.
            None => interrupt.until(self.cancel(host, jobs)).await.unwrap_or_default(),
        };
        let mut results = Vec::with_capacity(jobs.len());
        for id in jobs {
            let mut job = self.engine.job_as_seen(*id).await?;
            if !job.state().is_end() {
                job = self.engine.job(*id).await?;
            }
            if !job.state().is_end() {
                let why = ended.remove(id).unwrap_or_else(|| Error::unavailable("it did not end"));
                return Err(why.context(format!("job {id} is unfinished and the next command takes it on")));
            }
            results.push(job);
        }
        Ok(results)
    }

    async fn cancel(&self, host: &Host, jobs: &[JobId]) -> Ended {
        let mut events = Vec::new();
        for job in jobs {
            // A job that is being sealed cannot be stopped any more; the next command completes it.
            if let Ok(event) = self.engine.stop(*job, JobState::Cancelled, "interrupted by the operator").await {
                events.push(event);
            }
        }
        host.run(events, Vec::new()).await
    }

    /// Has the functions handle events of jobs that nobody works on.
    pub async fn settle(&self, events: Vec<Outgoing>, locks: Vec<JobLock>) -> Result<()> {
        match &self.remote {
            // A job with a lock is one that a process carries, whoever carries those of this command.
            Some(remote) if locks.is_empty() => remote.publish(&events).await,
            _ => {
                self.host(Arc::new(())).run(events, locks).await;
                Ok(())
            }
        }
    }
}
