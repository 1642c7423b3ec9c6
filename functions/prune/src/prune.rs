use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use stillpoint_events::{Envelope, PruneRequested};
use stillpoint_fleet::{Fleet, Keeping, Member};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Engine, Operation, Outcome};
use stillpoint_model::{Error, ErrorKind, ItemName, Requests, Result, policy::Act};
use stillpoint_vault::{PointEntries, PointEntry, Vault};

use crate::{alarms::Bells, tombstones::bury};

/// Most warnings in a job's record; the rest is counted.
const WARNINGS_MAX: usize = 50;
/// Machines pruned at once; each reads and writes sixteen records at a time.
const MACHINES_IN_FLIGHT: usize = 8;
/// Requests that follow the count: the decision, its record and the end's.
const LAST_PUTS: u64 = 3;

/// Has retention delete softly.
pub struct Prune {
    engine: Engine,
}

/// What one run found and did.
#[derive(Default)]
struct Report {
    machines: u64,
    points: u64,
    tombstoned: u64,
    warnings: Vec<String>,
}

impl Prune {
    /// The handler over its ports.
    #[must_use]
    pub const fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

impl Handler for Prune {
    type Event = PruneRequested;

    async fn handle(&self, event: Envelope<PruneRequested>, invocation: &Invocation) -> Result<Effects> {
        let job = self.engine.job(event.data.job).await?;
        if job.request.what != Operation::Prune {
            return Err(Error::fenced(format!("job {} has no use for this event", job.id)));
        }
        if job.state().is_end() {
            return Ok(Effects::none());
        }
        let engine = self.engine.metered();
        let vault = engine.vault();
        let fleet = Fleet::load(vault).await?;
        let mut bells = Bells::look(vault).await?;
        let report = run(vault, &fleet, &mut bells).await?;
        let events = bells.events;
        // Until here the job can be stopped: each tombstone is right by itself.
        let job = engine.seal(&job, invocation.attempt).await?;
        engine.complete(&job, report.outcome(vault)).await?;
        Ok(Effects { events })
    }
}

async fn run(vault: &Vault, fleet: &Fleet, bells: &mut Bells<'_>) -> Result<Report> {
    let mut entries: PointEntries = vault.all_point_entries().await?;
    let clock = fleet.clock(vault.clock().now(), &entries);
    bells.clock(&clock).await?;
    let mut report = Report::default();
    report.warnings.extend(clock.doubt().map(|doubt| doubt.to_string()));
    report.warnings.extend(fleet.damaged.iter().map(|(whose, why)| format!("{whose} cannot be read: {why}")));
    let own = |member: &Member| entries.remove(&member.item.name).unwrap_or_default();
    let machines: Vec<(usize, Vec<PointEntry>)> = fleet.members.iter().map(own).enumerate().collect();
    let prune = |(place, own): (usize, Vec<PointEntry>)| {
        let member = &fleet.members[place];
        async move {
            // Where a machine was stopped, nothing is done about its points.
            if member.is_active() { Some(bury(vault, fleet, &member.item.name, own, &clock).await) } else { None }
        }
    };
    let mut pruned = stream::iter(machines.into_iter().map(prune)).buffered(MACHINES_IN_FLIGHT);
    for member in &fleet.members {
        bells.policy(member).await?;
        let keeping = match pruned.next().await.flatten().transpose() {
            Ok(outcome) => outcome.map(|(keeping, buried)| report.add(&member.item.name, keeping, buried)),
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            // One machine must not keep the others waiting.
            Err(error) => {
                report.warnings.push(format!("machine {}: {}", member.item.name, error.one_line()));
                continue;
            }
        };
        bells.point(fleet, member, keeping.as_ref(), clock.now()).await?;
    }
    Ok(report)
}

impl Report {
    /// One more machine was pruned.
    fn add(&mut self, name: &ItemName, keeping: Keeping, buried: u64) -> Keeping {
        self.machines += 1;
        self.tombstoned += buried;
        self.points += keeping.points.iter().filter(|kept| matches!(kept.verdict.act, Act::Keep | Act::Prune)).count() as u64;
        if let Some((id, why)) = keeping.unreadable.first() {
            let count = keeping.unreadable.len();
            self.warnings.push(format!(
                "{count} points of {name} cannot be read, and nothing was done about them; the first is {id}: {}",
                why.one_line()
            ));
        }
        keeping
    }

    fn outcome(mut self, vault: &Vault) -> Outcome {
        let more = self.warnings.len().saturating_sub(WARNINGS_MAX);
        if more > 0 {
            self.warnings.truncate(WARNINGS_MAX);
            self.warnings.push(format!("and {more} more"));
        }
        let counts = [("machines", self.machines), ("points", self.points), ("tombstoned", self.tombstoned)];
        Outcome {
            warnings: self.warnings,
            requests: vault.store().requests() + Requests { put: LAST_PUTS, ..Requests::default() },
            counts: counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect::<BTreeMap<_, _>>(),
            ..Outcome::default()
        }
    }
}
