//! A vault in memory with jobs under way, one of whose objects is replaced by another that the vault's own key has signed: what
//! functions make of records that only they know.

use std::sync::OnceLock;

use serde_json::value::RawValue;
use stillpoint_collect::{Margins, preview};
use stillpoint_events::{Envelope, Outgoing};
use stillpoint_fleet::Fleet;
use stillpoint_format::{digest, seal_record};
use stillpoint_handler::{Effects, Invocation};
use stillpoint_jobs::{Carrier, Job, Operation, Request, Rotation};
use stillpoint_model::{AttemptId, Consistency, Error, Extent, ItemName, JobId, JobState, PointId, Result};
use stillpoint_ports::Clock;
use stillpoint_testkit::{Disk, TestClock, World};
use stillpoint_vault::Name;
use tokio::runtime::{Builder, Runtime};

use crate::attempt::Outcome;

const MIB: u64 = 1 << 20;
const MACHINE: &str = "web-01";
/// Enough that a fleet is read from its digest.
const OTHER_MACHINES: usize = 24;
/// Stand for the job at hand, the hash of its plan and the point: so inputs that were kept outlive changes of these.
const JOB: &str = "$job";
const PLAN: &str = "$plan";
const POINT: &str = "$point";

/// A record that is replaced.
#[derive(Debug, Clone, Copy)]
pub enum Record {
    RestorePlan,
    RestoreMarker,
    VerifyPlan,
    VerifyMarker,
    Census,
    Fleet,
}

/// See the module.
struct Scene {
    world: World,
    point: PointId,
    restore: Job,
    verify: Job,
    census: String,
    fleet: String,
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime can be made")
}

/// Made once for all targets.
fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| runtime().block_on(Scene::make()).expect("a scene can be made"))
}

/// Hands an event to whoever consumes it.
async fn deliver(world: &World, event: Outgoing) -> Result<Effects> {
    let vault = world.vault();
    let envelope = Envelope::seal(event, vault.ulid().to_string(), "stillpoint/fuzz", world.clock.now());
    world.functions().handle(envelope, &Invocation::first(AttemptId::new(vault.ulid()))).await
}

/// Hands an event over, and all that follow from it.
async fn follow(world: &World, event: Outgoing) -> Result<()> {
    let mut events = vec![event];
    while let Some(event) = events.pop() {
        events.extend(deliver(world, event).await?.events);
    }
    Ok(())
}

impl Scene {
    async fn make() -> Result<Self> {
        let world = World::at(7, TestClock::at(1_774_224_000_000)).await?;
        let mut os = Disk::new(34 * MIB);
        os.write_noise(Extent::new(0, 300_000), 1);
        os.write_noise(Extent::new(33 * MIB, 100_000), 2);
        world.platform.put(&format!("{MACHINE}/os"), os);
        let item: ItemName = MACHINE.parse()?;
        let others = (0..OTHER_MACHINES).map(|number| format!("db-{number:02}").parse()).collect::<Result<Vec<_>>>()?;
        for name in others.iter().chain([&item]) {
            world.protect(name, &["os".parse()?]).await?;
        }
        let create = async |what| {
            // Jobs that a broker carries take no lock of this machine.
            let request = Request { what, host: "fuzz".to_owned(), carrier: Carrier::Broker };
            world.engine.create(JobId::new(world.vault().ulid()), request).await
        };
        let wanted = Consistency::Crash;
        let backup = create(Operation::Backup {
            item: item.clone(),
            wanted,
            keep_until: None,
            slot: None,
            instant_restore_seconds: 0,
            snapshot_only: false,
        })
        .await?;
        follow(&world, backup.requested()).await?;
        let outcome = world.engine.job(backup.id).await?.newest.outcome;
        let point = outcome.and_then(|outcome| outcome.point).ok_or_else(|| Error::internal("no point was made"))?;
        follow(&world, create(Operation::Collect).await?.requested()).await?;
        Fleet::load(&world.vault().afresh()).await?.write_digest(world.vault()).await?;
        let disks = World::places(&world.vault().point(&item, point).await?, "to");
        let restore = create(Operation::Restore { item, point, disks, snapshot: None, estimated_ms: None, order: None }).await?;
        let verify = create(Operation::Verify { item: None, read: Some(Rotation::ALL) }).await?;
        for job in [&restore, &verify] {
            deliver(&world, job.requested()).await?;
        }
        let names = world.content.names().await?;
        let under = |folder: &str| {
            names
                .iter()
                .find(|name| name.starts_with(folder))
                .cloned()
                .ok_or_else(|| Error::internal(format!("nothing under {folder}")))
        };
        let (census, fleet) = (under("collect/census/")?, under("fleet/")?);
        Ok(Self { point, restore, verify, census, fleet, world })
    }

    /// The job that a record is of.
    fn job(&self, record: Record) -> &Job {
        match record {
            Record::VerifyPlan | Record::VerifyMarker => &self.verify,
            Record::RestorePlan | Record::RestoreMarker | Record::Census | Record::Fleet => &self.restore,
        }
    }

    /// A record's name, and what it is signed as.
    fn place(&self, record: Record) -> (String, &'static str) {
        let job = self.job(record).id;
        match record {
            Record::RestorePlan | Record::VerifyPlan => (Name::Plan(job).to_string(), "plan"),
            Record::RestoreMarker | Record::VerifyMarker => (Name::Marker(job, 0).to_string(), "marker"),
            Record::Census => (self.census.clone(), "census"),
            Record::Fleet => (self.fleet.clone(), "fleet"),
        }
    }

    /// What the words mean that stand for something.
    async fn stands_for(&self, record: Record) -> Result<[(&'static str, String); 3]> {
        let job = self.job(record).id;
        let plan = self.world.content.bytes(&Name::Plan(job).to_string()).await?;
        Ok([(JOB, job.to_string()), (PLAN, digest(&plan)), (POINT, self.point.to_string())])
    }

    /// The record that the vault has, or would have next.
    async fn genuine(&self, record: Record) -> Result<Vec<u8>> {
        let world = self.world.fork().await?;
        if matches!(record, Record::RestoreMarker | Record::VerifyMarker) {
            deliver(&world, self.job(record).segment_planned(0)).await?;
        }
        let bytes = world.content.bytes(&self.place(record).0).await?;
        let envelope: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| Error::internal(error.to_string()))?;
        let stands_for = self.stands_for(record).await?.into_iter();
        let body = stands_for.fold(envelope["body"].to_string(), |body, (word, meant)| body.replace(&meant, word));
        Ok(body.into_bytes())
    }

    /// Replaces a record and has it read.
    async fn read(&self, record: Record, text: &str) -> Result<String> {
        let stands_for = self.stands_for(record).await?.into_iter();
        let text = stands_for.fold(text.to_owned(), |text, (word, meant)| text.replace(word, &meant));
        let body: Box<RawValue> = serde_json::from_str(&text).map_err(|error| Error::corrupt(error.to_string()))?;
        let world = self.world.fork().await?;
        let (name, kind) = self.place(record);
        world.content.replace(&name, seal_record(&world.vault().keys().signature, kind, &name, &body)).await?;
        let names = world.content.names().await?;
        match record {
            Record::Census => {
                let findings = preview(&world.engine, &world.regions, &Margins::DEFAULT).await?;
                assert_eq!(world.content.names().await?, names, "a preview writes nothing");
                Ok(format!("{} warnings", findings.warnings.len().min(3)))
            }
            Record::Fleet => {
                let fleet = Fleet::load(world.vault()).await?;
                Ok(format!("{} machines, {} damaged", fleet.members.len().min(3), fleet.damaged.len().min(3)))
            }
            Record::RestorePlan | Record::VerifyPlan => {
                let job = self.job(record);
                // Each of them, whatever the one before said.
                let begun = deliver(&world, job.requested()).await;
                let done = deliver(&world, job.segment_planned(0)).await;
                let ended = finish(&world, job).await;
                begun.and(done).and(ended)
            }
            Record::RestoreMarker | Record::VerifyMarker => finish(&world, self.job(record)).await,
        }
    }
}

/// Has a job of which all segments are said to be done end.
async fn finish(world: &World, job: &Job) -> Result<String> {
    let finished = deliver(world, job.segments_done()).await;
    let state = world.engine.job(job.id).await?.state();
    assert!(finished.is_ok() || state != JobState::Completed, "a job is completed, and the step that did so failed");
    finished.map(|effects| format!("{state}, {} events", effects.events.len().min(3)))
}

/// A record as it should be.
pub fn genuine(record: Record) -> Vec<u8> {
    runtime().block_on(scene().genuine(record)).expect("the vault has such a record")
}

/// What comes of a record whose body is this text.
pub fn read(record: Record, text: &str) -> Outcome {
    runtime().block_on(scene().read(record, text)).map_err(|error| error.one_line())
}
