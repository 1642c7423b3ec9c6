use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use stillpoint_model::{Error, JobId, Result};
use stillpoint_nbd::Address;
use stillpoint_ports::{
    Clock, DiskReader, DiskSnapshot, Ending, FoundDisk, Holding, MachineSource, Platform, Snapshot, SnapshotRequest,
};

use crate::{
    agent::Agent,
    configuration,
    cut::Cut,
    extents, firmware,
    handle::Handle,
    machine::{MachineDisk, View, parse_location},
    names::is_own,
    offline,
    qmp::Qmp,
    quiesce::{AtRest, thaw_if_frozen},
    reader::NbdReader,
    scratch,
    settings::Settings,
    teardown::{self, nbd_path, teardown},
};

/// Platform `qemu`: machines of this host whose QEMU listens at a QMP socket, and the same machines while they are off. See the crate's
/// documentation.
pub struct QemuPlatform {
    clock: Arc<dyn Clock>,
}

impl QemuPlatform {
    /// The platform; `clock` stamps the instant of a snapshot.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

#[async_trait]
impl Platform for QemuPlatform {
    async fn inspect(&self, machine: &MachineSource) -> Result<Vec<FoundDisk>> {
        let settings = Settings::read(&machine.settings)?;
        match Qmp::connect_if_on(&settings.qmp).await? {
            Some(mut qmp) => {
                let disks = View::read(&mut qmp).await?.disks(&settings.exclude)?;
                Ok(disks.iter().map(MachineDisk::found).collect())
            }
            None if machine.disks.is_empty() => Err(Error::missing(format!(
                "nothing listens at {}; start the machine so that its disks can be found",
                settings.qmp.display()
            ))),
            None => machine.disks.iter().map(offline::inspect).collect(),
        }
    }

    async fn holders(&self, machine: &MachineSource) -> Result<Vec<JobId>> {
        let settings = Settings::read(&machine.settings)?;
        match Qmp::connect_if_on(&settings.qmp).await? {
            Some(mut qmp) => teardown::holders(&mut qmp).await,
            None => offline::holders(&settings, machine).await,
        }
    }

    async fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot> {
        let (request, clock) = (request.clone(), Arc::clone(&self.clock));
        // Goes on to its end when nobody waits for it any more: a guest at rest must not be left so.
        let taken = tokio::spawn(async move { take(&request, clock.as_ref()).await }).await;
        taken.map_err(|error| Error::internal("taking the snapshot was given up").with_source(error))?
    }

    /// What the guest overwrites elsewhere is then not copied before.
    async fn keep_only(&self, snapshot: &Snapshot) {
        for disk in &snapshot.disks {
            if let Err(error) = keep_only(disk).await {
                tracing::debug!(disk = %disk.name, error = %error.one_line(), "what is not read is kept as well");
            }
        }
    }

    async fn open(&self, disk: &DiskSnapshot) -> Result<Box<dyn DiskReader>> {
        let handle = Handle::decode(&disk.handle)?;
        Ok(Box::new(NbdReader::open(disk, &handle.nbd, &handle.export).await?))
    }

    async fn release(&self, job: JobId, held: Holding<'_>, ending: Ending) -> Result<()> {
        match held {
            Holding::Machine(machine) => clear(job, machine, ending).await,
            Holding::Snapshot(snapshot) => {
                let handles = snapshot.disks.iter().map(|disk| Handle::decode(&disk.handle)).collect::<Result<Vec<_>>>()?;
                let Some(Handle { qmp, nbd, daemon, .. }) = handles.first() else { return Ok(()) };
                give_back(qmp, job, nbd, *daemon, ending).await?;
                handles.iter().try_for_each(|handle| scratch::remove(&handle.scratch))
            }
        }
    }

    async fn untrack(&self, machine: &MachineSource) -> Result<usize> {
        if let Some(job) = self.holders(machine).await?.first() {
            return Err(reads(*job));
        }
        let settings = Settings::read(&machine.settings)?;
        match Qmp::connect_if_on(&settings.qmp).await? {
            Some(mut qmp) => teardown::remove_bitmaps(&mut qmp, is_own).await,
            None => offline::untrack(&settings, machine, is_own).await,
        }
    }
}

async fn keep_only(disk: &DiskSnapshot) -> Result<()> {
    let Handle { nbd, export, daemon, .. } = Handle::decode(&disk.handle)?;
    // Nobody writes to a disk that a daemon has.
    if daemon {
        return Ok(());
    }
    extents::keep_only(&Address::unix(&nbd)?, &export, disk.size_bytes, &disk.extents).await
}

/// A snapshot stands where none may.
pub(crate) fn reads(job: JobId) -> Error {
    Error::conflict(format!("job {job} reads the machine's disks; wait for it, or give it up"))
}

/// Takes a snapshot away from the monitor that it was taken at; what is off holds nothing.
pub(crate) async fn give_back(monitor: &Path, job: JobId, nbd: &Path, daemon: bool, ending: Ending) -> Result<()> {
    if let Some(mut qmp) = Qmp::connect_if_on(monitor).await? {
        teardown(&mut qmp, job, nbd, ending).await?;
        if daemon {
            offline::stop(qmp).await?;
        }
    }
    if daemon {
        scratch::remove(monitor)?;
    }
    scratch::remove(nbd)
}

/// Removes whatever a job has left at a machine, and lets a guest go on that it has frozen.
async fn clear(job: JobId, machine: &MachineSource, ending: Ending) -> Result<()> {
    let settings = Settings::read(&machine.settings)?;
    let nbd = nbd_path(&settings.qmp, job);
    let mut files: Vec<PathBuf> = machine.disks.iter().filter_map(|disk| Some(parse_location(disk).ok()?.1.to_owned())).collect();
    if let Some(mut qmp) = Qmp::connect_if_on(&settings.qmp).await? {
        // The record may not know of all disks, and scratch files lie beside each.
        files.extend(View::read(&mut qmp).await?.files());
    }
    give_back(&settings.qmp, job, &nbd, false, ending).await?;
    give_back(&offline::socket(&settings, job), job, &nbd, true, ending).await?;
    thaw_abandoned(&settings).await?;
    scratch::folders(&settings, files.into_iter()).iter().try_for_each(|folder| scratch::sweep(folder, job))
}

/// Lets a guest go on that a job has frozen and left.
///
/// # Errors
/// As the agent, once it answers.
pub(crate) async fn thaw_abandoned(settings: &Settings) -> Result<()> {
    if let Some(place) = settings.agent.as_ref().filter(|place| place.exists()) {
        match Agent::connect(place).await {
            Ok(mut agent) => thaw_if_frozen(&mut agent).await?,
            // A guest whose agent is silent was not frozen by us: freezing needs it.
            Err(error) => tracing::debug!(error = %error.one_line(), "the guest agent was not asked whether the guest is frozen"),
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Status {
    running: bool,
}

async fn take(request: &SnapshotRequest, clock: &dyn Clock) -> Result<Snapshot> {
    let settings = Settings::read(&request.machine.settings)?;
    // Of an earlier, interrupted try.
    clear(request.job, &request.machine, Ending::Abandoned).await?;
    let (mut qmp, disks, daemon) = match Qmp::connect_if_on(&settings.qmp).await? {
        Some(mut qmp) => {
            unless_busy(&mut qmp).await?;
            let disks = View::read(&mut qmp).await?.disks(&settings.exclude)?;
            (qmp, disks, false)
        }
        None => {
            let (qmp, disks) = offline::start(&settings, &request.machine, request.job).await?;
            (qmp, disks, true)
        }
    };
    let taken = take_from(&mut qmp, &disks, daemon, request, &settings, clock).await;
    if taken.is_err() {
        drop(qmp);
        let places = disks.iter().map(|disk| disk.found().source).collect();
        let machine = MachineSource { disks: places, settings: request.machine.settings.clone() };
        if let Err(error) = clear(request.job, &machine, Ending::Abandoned).await {
            tracing::warn!(error = %error.one_line(), "a snapshot that failed could not be taken away at once");
        }
    }
    taken
}

/// Two that move blocks at once would see each other's filters.
async fn unless_busy(qmp: &mut Qmp) -> Result<()> {
    #[derive(Deserialize)]
    struct BlockJob {
        #[serde(rename = "type")]
        kind: String,
        device: String,
    }
    let jobs: Vec<BlockJob> = qmp.query("query-block-jobs", json!({})).await?;
    match jobs.first() {
        Some(BlockJob { kind, device }) => Err(Error::unavailable(format!(
            "the machine is busy with a block job ({}, {}); a backup has to wait for it",
            kind.escape_debug(),
            device.escape_debug()
        ))),
        None => Ok(()),
    }
}

pub(crate) async fn take_from(
    qmp: &mut Qmp,
    disks: &[MachineDisk],
    daemon: bool,
    request: &SnapshotRequest,
    settings: &Settings,
    clock: &dyn Clock,
) -> Result<Snapshot> {
    let job = request.job;
    let scratch = disks
        .iter()
        .enumerate()
        .map(|(position, disk)| scratch::place(settings, disk, job, position))
        .collect::<Result<Vec<PathBuf>>>()?;
    let runs = !daemon && qmp.query::<Status>("query-status", json!({})).await?.running;
    let configuration = if daemon { None } else { configuration::of(qmp.peer()) };
    let monitor = if daemon { offline::socket(settings, job) } else { settings.qmp.clone() };
    let mut cut = Cut { qmp, job, disks, scratch, nbd: nbd_path(&settings.qmp, job), begins_bitmaps: settings.begins_bitmaps };
    cut.prepare().await?;
    let mut rest = AtRest::begin(settings, request.wanted, runs).await?;
    let instant = clock.now();
    let done = cut.cut(instant).await;
    let rested = rest.end().await;
    done?;
    let mut warnings = rested.warnings;
    let mut firmware_variables = None;
    if !daemon {
        let (variables, unkept) = firmware::of(cut.qmp, job, cut.disks.len(), &Address::unix(&cut.nbd)?).await;
        firmware_variables = variables;
        warnings.extend(unkept);
    }
    let (disks, tracking_resets) = cut.show(instant, request.since, &monitor, daemon).await?;
    warnings.extend(
        tracking_resets.iter().map(|reset| format!("disk {}: all of it is read and compared, for {}", reset.disk, reset.reason)),
    );
    let (obtained, frozen_ms) = (rested.obtained, rested.frozen_ms);
    let snapshot = Snapshot::new(instant, obtained, disks, false);
    Ok(Snapshot { warnings, frozen_ms, tracking_resets, configuration, firmware_variables, ..snapshot })
}
