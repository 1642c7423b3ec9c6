use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use stillpoint_model::{Error, ErrorKind, JobId, Result};
use stillpoint_ports::{
    Clock, DiskReader, DiskSnapshot, Ending, FoundDisk, Holding, MachineSource, Platform, Snapshot, SnapshotRequest,
};

use super::{
    backup::{self, Backup},
    checkpoint,
    domain::{self, Domain, DomainDisk},
    handle::DomainHandle,
    names::{self, Checkpoint},
    offline as off,
    settings::DomainSettings,
    space,
    virsh::{DomainAgent, Virsh},
    watch,
};
use crate::{
    agent::Place,
    handle::Handle,
    machine::parse_location,
    names::scratch_file,
    offline,
    platform::{give_back, reads, thaw_abandoned},
    quiesce::AtRest,
    reader::NbdReader,
    scratch,
    teardown::nbd_path,
};

/// Platform `libvirt`: domains of this host's libvirt, on or off.
pub struct LibvirtPlatform {
    clock: Arc<dyn Clock>,
}

impl LibvirtPlatform {
    /// The platform; `clock` stamps the instant of a snapshot.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

#[async_trait]
impl Platform for LibvirtPlatform {
    async fn inspect(&self, machine: &MachineSource) -> Result<Vec<FoundDisk>> {
        let (_, _, domain) = look(machine).await?;
        Ok(domain.disks.iter().map(DomainDisk::found).collect())
    }

    async fn holders(&self, machine: &MachineSource) -> Result<Vec<JobId>> {
        let (settings, virsh) = reach(machine)?;
        let uuid = domain::uuid(&virsh, &settings.domain).await?;
        let mut holders = offline::holders(&settings.shared, machine).await?;
        holders.extend(backup::left(&settings.sockets(), &uuid)?);
        holders.extend(backup::running(&virsh, &uuid).await?);
        holders.sort_unstable();
        holders.dedup();
        Ok(holders)
    }

    async fn snapshot(&self, request: &SnapshotRequest) -> Result<Snapshot> {
        let (request, clock) = (request.clone(), Arc::clone(&self.clock));
        // Goes on to its end when nobody waits for it any more: a guest at rest must not be left so.
        let taken = tokio::spawn(async move { take(&request, clock.as_ref()).await }).await;
        taken.map_err(|error| Error::internal("taking the snapshot was given up").with_source(error))?
    }

    async fn open(&self, disk: &DiskSnapshot) -> Result<Box<dyn DiskReader>> {
        let Some(DomainHandle { nbd, export, .. }) = DomainHandle::decode(&disk.handle) else {
            let handle = Handle::decode(&disk.handle)?;
            return Ok(Box::new(NbdReader::open(disk, &handle.nbd, &handle.export).await?));
        };
        let reader = NbdReader::open(disk, &nbd, &export).await.map_err(|error| given_up(&nbd, error))?;
        Ok(Box::new(DomainReader { reader, nbd }))
    }

    async fn release(&self, job: JobId, held: Holding<'_>, ending: Ending) -> Result<()> {
        let snapshot = match held {
            Holding::Machine(machine) => return clear(job, machine, ending).await,
            Holding::Snapshot(snapshot) => snapshot,
        };
        let handles: Vec<_> = snapshot.disks.iter().filter_map(|disk| DomainHandle::decode(&disk.handle)).collect();
        if let Some(DomainHandle { uri, domain, nbd, .. }) = handles.first() {
            backup::take_away(&Virsh::new(uri), domain, job, nbd, ending).await?;
            return handles.iter().try_for_each(|handle| scratch::remove(&handle.scratch));
        }
        let handles = snapshot.disks.iter().map(|disk| Handle::decode(&disk.handle)).collect::<Result<Vec<_>>>()?;
        let Some(Handle { qmp, nbd, daemon, .. }) = handles.first() else { return Ok(()) };
        give_back(qmp, job, nbd, *daemon, ending).await?;
        handles.iter().try_for_each(|handle| scratch::remove(&handle.scratch))
    }

    async fn untrack(&self, machine: &MachineSource) -> Result<usize> {
        if let Some(job) = self.holders(machine).await?.first() {
            return Err(reads(*job));
        }
        let (settings, virsh, domain) = look(machine).await?;
        if domain.is_on() {
            backup::unless_busy(&virsh, &domain.uuid).await?;
            return checkpoint::delete_all(&virsh, &domain).await;
        }
        // libvirt takes no bitmap from a domain that is off, and neither those whose checkpoints are gone.
        let machine = off::source(&domain, machine);
        let removed = offline::untrack(&settings.shared, &machine, |name| name.parse::<Checkpoint>().is_ok()).await?;
        checkpoint::forget_all(&virsh, &domain.uuid).await?;
        Ok(removed)
    }
}

/// One disk of a snapshot of a domain that is on.
struct DomainReader {
    reader: NbdReader,
    nbd: PathBuf,
}

#[async_trait]
impl DiskReader for DomainReader {
    async fn read(&self, offset: u64, buffer: Vec<u8>) -> Result<Vec<u8>> {
        self.reader.read(offset, buffer).await.map_err(|error| given_up(&self.nbd, error))
    }

    /// What could be read was of the instant: the guest waits for old blocks to be kept before it overwrites them.
    async fn confirm(&self) -> Result<()> {
        self.reader.confirm().await
    }
}

/// Says why the snapshot is gone, where it is because it had to be given up.
fn given_up(nbd: &Path, error: Error) -> Error {
    match watch::reason(nbd) {
        Some(reason) => {
            Error::conflict(format!("the snapshot was given up so that the guest goes on: {reason}")).with_source(error)
        }
        None => error,
    }
}

fn reach(machine: &MachineSource) -> Result<(DomainSettings, Virsh)> {
    let settings = DomainSettings::read(&machine.settings)?;
    let virsh = Virsh::new(&settings.uri);
    Ok((settings, virsh))
}

fn agent(virsh: &Virsh, domain: &str) -> Place {
    Place::Domain(DomainAgent { virsh: virsh.clone(), domain: domain.to_owned() })
}

async fn look(machine: &MachineSource) -> Result<(DomainSettings, Virsh, Domain)> {
    let (mut settings, virsh) = reach(machine)?;
    let domain = Domain::read(&virsh, &settings.domain, &settings.shared.exclude).await?;
    settings.shared.agent = Some(agent(&virsh, &domain.uuid));
    Ok((settings, virsh, domain))
}

/// Removes whatever a job has left at a domain, and lets a guest go on that it has frozen.
async fn clear(job: JobId, machine: &MachineSource, ending: Ending) -> Result<()> {
    let (mut settings, virsh) = reach(machine)?;
    let uuid = match domain::uuid(&virsh, &settings.domain).await {
        // With the domain all that was at it is gone.
        Err(error) if error.kind() == ErrorKind::Missing => return Ok(()),
        uuid => uuid?,
    };
    let nbd = names::socket(&settings.sockets(), job, &uuid);
    backup::take_away(&virsh, &uuid, job, &nbd, ending).await?;
    if domain::state(&virsh, &uuid).await?.starts_with("running") {
        settings.shared.agent = Some(agent(&virsh, &uuid));
        thaw_abandoned(&settings.shared).await?;
    }
    let shared = &settings.shared;
    give_back(&offline::socket(shared, job), job, &nbd_path(&shared.qmp, job), true, ending).await?;
    let files = machine.disks.iter().filter_map(|disk| Some(parse_location(disk).ok()?.1.to_owned()));
    scratch::folders(shared, files).iter().try_for_each(|folder| scratch::sweep(folder, job))
}

async fn take(request: &SnapshotRequest, clock: &dyn Clock) -> Result<Snapshot> {
    // Of an earlier, interrupted try.
    clear(request.job, &request.machine, Ending::Abandoned).await?;
    let (settings, virsh, domain) = look(&request.machine).await?;
    let taken = if domain.is_on() {
        take_running(&virsh, &domain, &settings, request, clock).await
    } else {
        off::take(&virsh, &domain, &settings, request, clock).await
    };
    if taken.is_err()
        && let Err(error) = clear(request.job, &request.machine, Ending::Abandoned).await
    {
        tracing::warn!(error = %error.one_line(), "a snapshot that failed could not be taken away at once");
    }
    taken
}

async fn take_running(
    virsh: &Virsh,
    domain: &Domain,
    settings: &DomainSettings,
    request: &SnapshotRequest,
    clock: &dyn Clock,
) -> Result<Snapshot> {
    let (job, shared) = (request.job, &settings.shared);
    backup::unless_busy(virsh, &domain.uuid).await?;
    let scratch = domain
        .disks
        .iter()
        .enumerate()
        .map(|(position, disk)| Ok(scratch::folder(shared, &disk.file, disk.name.as_str())?.join(scratch_file(job, position))))
        .collect::<Result<Vec<_>>>()?;
    let watched = space::check(&scratch, &domain.disks)?;
    let parent = match request.since {
        Some(since) => Some((since, checkpoint::since(virsh, &domain.uuid, &domain.disks, since).await?)),
        None => None,
    };
    let configuration = domain::configuration(virsh, &domain.uuid).await;
    let nbd = names::socket(&settings.sockets(), job, &domain.uuid);
    let backup = Backup { virsh, domain, job, nbd, scratch, parent };
    let mut rest = AtRest::begin(shared, request.wanted, domain.runs()).await?;
    let instant = clock.now();
    let done = backup.begin(instant, &watched).await;
    let rested = rest.end().await;
    done?;
    let (firmware_variables, unkept) = domain.firmware.read(true);
    let (disks, tracking_resets) = backup.show(instant).await.map_err(|error| given_up(&backup.nbd, error))?;
    let mut warnings = [rested.warnings, unkept].concat();
    warnings.extend(
        tracking_resets.iter().map(|reset| format!("disk {}: all of it is read and compared, for {}", reset.disk, reset.reason)),
    );
    let (obtained, frozen_ms) = (rested.obtained, rested.frozen_ms);
    let snapshot = Snapshot::new(instant, obtained, disks, false);
    Ok(Snapshot { warnings, frozen_ms, tracking_resets, configuration, firmware_variables, ..snapshot })
}
