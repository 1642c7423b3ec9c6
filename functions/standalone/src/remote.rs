//! Jobs that workers do: their events are published to a broker, and what becomes of them is read in the vault.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use stillpoint_broker::{Broker, Publisher, Site, Topology};
use stillpoint_events::Outgoing;
use stillpoint_jobs::{Engine, Job};
use stillpoint_model::{Error, JobId, JobState, Result};
use stillpoint_ports::Progress;
use stillpoint_runtime::host_name;

use crate::{args::Global, output, progress::Display, session::system};

/// How often a job is looked at: soon at first, then in longer pauses.
const LOOKS: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_millis(500),
    Duration::from_secs(1),
];
/// Looks after which an operator is told that no worker has touched a job.
const LONELY_LOOKS: usize = 30;
/// Looks at a cancelled job until its workers have given back what it holds.
const CANCEL_LOOKS: usize = 60;

/// The site that is meant where none is named.
pub fn site(global: &Global) -> Result<Site> {
    global.site.clone().map_or_else(|| host_name().parse(), Ok)
}

/// Whether a site is this very host.
pub fn is_here(site: &Site) -> bool {
    site.as_str() == host_name()
}

/// The broker that the options name, if they do.
pub fn broker(global: &Global) -> Result<Option<Broker>> {
    let Some(url) = &global.broker else { return Ok(None) };
    let ca = global.broker_ca.as_ref().map(|path| {
        std::fs::read_to_string(path).map_err(|error| Error::from(error).context(format!("cannot read {}", path.display())))
    });
    Broker::new(url, ca.transpose()?).map(Some)
}

/// A publisher for one site.
pub fn publisher(broker: Broker, site: Site, who: &str) -> Publisher {
    let (clock, random) = system();
    Publisher::new(broker, Arc::new(Topology::of(site)), who, clock, random)
}

/// A broker that carries jobs for this command.
#[derive(Clone)]
pub struct Remote {
    broker: Broker,
    engine: Engine,
}

/// How far a watched job was when it was last looked at.
#[derive(Default)]
struct Seen {
    /// Bytes of each segment of its plan.
    segments: Vec<u64>,
    moved: u64,
}

impl Remote {
    /// Jobs of `engine`, carried by `broker`.
    pub const fn new(broker: Broker, engine: Engine) -> Self {
        Self { broker, engine }
    }

    /// Shows that the broker takes messages for `site`, before there is a job.
    pub async fn check(&self, site: &str) -> Result<()> {
        publisher(self.broker.clone(), site.parse()?, "stillpoint/command").ready(None).await
    }

    /// Publishes events, each to the site of its job.
    pub async fn publish(&self, events: &[Outgoing]) -> Result<()> {
        let mut sites = BTreeMap::<String, Vec<Outgoing>>::new();
        for event in events {
            let job = event.data.get("job").and_then(Value::as_str).unwrap_or_default().parse()?;
            sites.entry(self.engine.job(job).await?.request.host).or_default().push(event.clone());
        }
        for (site, events) in sites {
            publisher(self.broker.clone(), site.parse()?, "stillpoint/command").publish(&events).await?;
        }
        Ok(())
    }

    /// Waits until all jobs have ended and shows how far they are.
    pub async fn watch(&self, jobs: &[JobId], display: &Display) -> Result<()> {
        let mut seen: Vec<Seen> = jobs.iter().map(|_| Seen::default()).collect();
        for look in 0_usize.. {
            let mut unfinished = 0;
            let mut untouched = 0;
            for (id, seen) in jobs.iter().zip(&mut seen) {
                let job = self.engine.job(*id).await?;
                unfinished += usize::from(!job.state().is_end());
                untouched += usize::from(job.state() == JobState::Requested);
                self.show(&job, seen, display).await?;
            }
            if unfinished == 0 {
                return Ok(());
            }
            if look == LONELY_LOOKS && untouched > 0 {
                output::complain(
                    "no worker has begun yet: is one running for the machine's site? See `stillpoint worker --help`; the job stays",
                );
            }
            tokio::time::sleep(LOOKS[look.min(LOOKS.len() - 1)]).await;
        }
        Ok(())
    }

    async fn show(&self, job: &Job, seen: &mut Seen, display: &Display) -> Result<()> {
        let Some(count) = job.newest.segments else { return Ok(()) };
        if seen.segments.is_empty() && count > 0 {
            let plan = self.engine.plan::<Value>(job.id).await?.plan;
            seen.segments = plan.segments.iter().map(|segment| segment.bytes).collect();
            display.planned(job.id, seen.segments.iter().sum(), 0);
        }
        let total: u64 = seen.segments.iter().sum();
        let left = if job.state() == JobState::Transfer { self.engine.outstanding(job.id, count).await? } else { Vec::new() };
        let left: u64 = left.iter().filter_map(|segment| seen.segments.get(*segment as usize)).sum();
        display.moved(job.id, (total - left).saturating_sub(seen.moved));
        seen.moved = seen.moved.max(total - left);
        Ok(())
    }

    /// Gives jobs up and waits until their workers have given back what they held.
    pub async fn cancel(&self, jobs: &[JobId]) -> Result<()> {
        for id in jobs {
            // One that is being sealed cannot be stopped any more, and ends by itself.
            if let Ok(ended) = self.engine.stop(*id, JobState::Cancelled, "interrupted by the operator").await {
                self.publish(&[ended]).await?;
            }
        }
        for _ in 0..CANCEL_LOOKS {
            let mut unfinished = false;
            for id in jobs {
                unfinished |= !self.engine.job(*id).await?.state().is_end();
            }
            if !unfinished {
                break;
            }
            tokio::time::sleep(LOOKS[2]).await;
        }
        Ok(())
    }
}
