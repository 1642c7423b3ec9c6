//! The backup job of a domain that is on.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use stillpoint_model::{Error, ErrorKind, JobId, Result};
use stillpoint_nbd::Address;
use stillpoint_ports::{Baseline, DiskSnapshot, Ending, Since, TrackingReset};
use tokio::time::{Instant, sleep};

use super::{
    checkpoint,
    domain::{self, Domain, child, parse},
    handle::DomainHandle,
    names::{self, Checkpoint},
    space::Watched,
    virsh::Virsh,
    watch,
};
use crate::{extents, names::export_name, scratch};

/// The name under which an export shows what changed.
const CHANGED: &str = "changed";
/// Until a job that was aborted is gone.
const ENDS: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
/// How often a guest is looked at once the job is gone, and how long after.
const LOOKS: u32 = 5;
const LOOKS_AGAIN: Duration = Duration::from_millis(100);
/// QEMU tells of a disk's errors once a second: the second one comes late. Should the guest go on before, libvirt takes it for a new one, and says
/// that the guest stands still for as long as it runs: QEMU has nothing to say when what runs is to go on.
const ERRORS_ARE_TOLD: Duration = Duration::from_millis(1500);

/// A snapshot in the making.
pub(super) struct Backup<'a> {
    pub(super) virsh: &'a Virsh,
    pub(super) domain: &'a Domain,
    pub(super) job: JobId,
    /// The socket to read through.
    pub(super) nbd: PathBuf,
    /// Scratch files, a disk each.
    pub(super) scratch: Vec<PathBuf>,
    /// The checkpoint that tells what changed, and whether it does for each disk.
    pub(super) parent: Option<(Since, Vec<Result<(), String>>)>,
}

impl Backup<'_> {
    /// The instant: libvirt cuts all disks at once, and begins a checkpoint. From before that on a watch looks at the space there is.
    ///
    /// # Errors
    /// As libvirt.
    pub(super) async fn begin(&self, instant: Timestamp, watched: &[Watched]) -> Result<()> {
        let own = Checkpoint(Since { job: self.job, instant });
        let [backup, checkpoint] = names::descriptions(&self.nbd);
        write(&backup, &self.description(instant)?)?;
        let mut words = vec!["backup-begin", &self.domain.uuid, text(&backup)?];
        if let Some(described) = checkpoint::description(own, &self.domain.disks)? {
            write(&checkpoint, &described)?;
            words.push(text(&checkpoint)?);
        }
        watch::start(self.virsh, &self.domain.uuid, &self.nbd, watched)?;
        self.virsh.run(&words).await?;
        scratch::remove(&backup)?;
        scratch::remove(&checkpoint)
    }

    fn description(&self, instant: Timestamp) -> Result<String> {
        let mut out =
            format!("<domainbackup mode='pull'><server transport='unix' socket='{}'/><disks>", escaped(text(&self.nbd)?));
        for (position, (disk, scratch)) in self.domain.disks.iter().zip(&self.scratch).enumerate() {
            let how = match self.parent(position) {
                Some(since) => {
                    format!("backupmode='incremental' incremental='{}' exportbitmap='{CHANGED}'", Checkpoint(since))
                }
                None => "backupmode='full'".to_owned(),
            };
            let (name, export, scratch) = (&disk.name, export_name(&disk.name, instant), escaped(text(scratch)?));
            write!(
                out,
                "<disk name='{name}' backup='yes' type='file' exportname='{export}' {how}><scratch file='{scratch}'/></disk>"
            )
            .map_err(|_| Error::internal("out of memory"))?;
        }
        out.push_str("</disks></domainbackup>");
        Ok(out)
    }

    fn parent(&self, position: usize) -> Option<Since> {
        let (since, of) = self.parent.as_ref()?;
        of.get(position)?.as_ref().ok().map(|()| *since)
    }

    /// What is to be read, and why some of it is everything.
    ///
    /// # Errors
    /// As the exports.
    pub(super) async fn show(&self, instant: Timestamp) -> Result<(Vec<DiskSnapshot>, Vec<TrackingReset>)> {
        let address = Address::unix(&self.nbd)?;
        let mut disks = Vec::new();
        for (position, (disk, scratch)) in self.domain.disks.iter().zip(&self.scratch).enumerate() {
            let changed = self.parent(position).map(|_| CHANGED);
            let export = export_name(&disk.name, instant);
            let extents = extents::of(&address, &export, disk.size_bytes, changed).await;
            let (uri, domain) = (self.virsh.uri().to_owned(), self.domain.uuid.clone());
            disks.push(DiskSnapshot {
                name: disk.name.clone(),
                size_bytes: disk.size_bytes,
                extents: extents.map_err(|error| error.context(format!("disk {}", disk.name)))?,
                baseline: if changed.is_some() { Baseline::Parent } else { Baseline::Zero },
                handle: DomainHandle { uri, domain, nbd: self.nbd.clone(), export, scratch: scratch.clone() }.encode()?,
            });
        }
        let known = self.parent.iter().flat_map(|(_, of)| of.iter().zip(&self.domain.disks));
        let resets = known.filter_map(|(of, disk)| Some(TrackingReset { disk: disk.name.clone(), reason: of.clone().err()? }));
        Ok((disks, resets.collect()))
    }
}

/// Text in an XML document.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;").replace('"', "&quot;")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::invalid(format!("path {} is not UTF-8", path.display())))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Error::from(error).context(path.display()))
}

/// Refuses to begin while libvirt does something else with the domain: it would wait 30 s, and others behind it.
///
/// # Errors
/// `unavailable`.
pub(super) async fn unless_busy(virsh: &Virsh, domain: &str) -> Result<()> {
    let told = virsh.run(&["domjobinfo", domain]).await?;
    let field = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    match field("Job type") {
        None | Some("None" | "Completed") => Ok(()),
        Some(_) => Err(Error::unavailable(format!(
            "the domain is busy with another job ({}); a backup has to wait for it",
            field("Operation").unwrap_or("unknown").escape_debug()
        ))),
    }
}

/// The job of ours whose backup job the domain has.
///
/// # Errors
/// As libvirt.
pub(super) async fn running(virsh: &Virsh, domain: &str) -> Result<Option<JobId>> {
    let told = match virsh.run(&["backup-dumpxml", domain]).await {
        Err(error) if ["no domain backup job", "backup job id not found"].iter().any(|none| error.to_string().contains(none)) => {
            return Ok(None);
        }
        told => told?,
    };
    let document = parse(&told)?;
    let socket = child(document.root_element(), "server").and_then(|server| server.attribute("socket"));
    Ok(socket.and_then(|socket| names::job_of(Path::new(socket), domain)))
}

/// Ends the backup job of a job of ours, lets a guest go on that it has paused, and deletes checkpoints that are over and files.
///
/// # Errors
/// As libvirt; `unavailable` when something does not go away.
pub(super) async fn take_away(virsh: &Virsh, domain: &str, job: JobId, nbd: &Path, ending: Ending) -> Result<()> {
    let state = match domain::state(virsh, domain).await {
        Err(error) if error.kind() == ErrorKind::Missing => None,
        state => Some(state?),
    };
    if state.is_some_and(|state| !state.starts_with("shut off") && !state.starts_with("crashed")) {
        abort(virsh, domain, job, nbd, ending).await?;
        checkpoint::delete(virsh, domain, job, ending).await?;
    }
    let [backup, checkpoint] = names::descriptions(nbd);
    [nbd, &names::reason(nbd), &backup, &checkpoint].iter().try_for_each(|path| scratch::remove(path))
}

async fn abort(virsh: &Virsh, domain: &str, job: JobId, nbd: &Path, ending: Ending) -> Result<()> {
    let runs = running(virsh, domain).await? == Some(job);
    // A watch that was killed may have ended the job and not let the guest go on.
    if !runs && watch::reason(nbd).is_none() {
        return Ok(());
    }
    if runs && let Err(error) = virsh.run(&["domjobabort", domain]).await {
        // The watch may have been faster.
        tracing::debug!(error = %error.one_line(), "a backup job was not ended");
    }
    let end = Instant::now() + ENDS;
    while running(virsh, domain).await? == Some(job) {
        if Instant::now() >= end {
            return Err(Error::unavailable("libvirt's backup job does not end"));
        }
        sleep(PAUSE).await;
    }
    // After a job in which nothing went wrong the watch looks on for a while: nobody has to wait for that.
    if ending == Ending::Committed && watch::reason(nbd).is_none() && !stands_still(virsh, domain).await? {
        return Ok(());
    }
    go_on(virsh, domain).await
}

/// Lets a guest go on that a full scratch file has paused. QEMU stops it a moment after the write that failed, which may be after the job's end.
async fn go_on(virsh: &Virsh, domain: &str) -> Result<()> {
    for _ in 0..LOOKS {
        if stands_still(virsh, domain).await? {
            sleep(ERRORS_ARE_TOLD).await;
            // The watch may have been faster; else the next look finds it as it was.
            if stands_still(virsh, domain).await?
                && let Err(error) = virsh.run(&["resume", domain]).await
            {
                tracing::warn!(error = %error.one_line(), "a guest was not let go on");
            }
        }
        sleep(LOOKS_AGAIN).await;
    }
    match stands_still(virsh, domain).await? {
        true => {
            Err(Error::unavailable("the guest stands still after an I/O error and cannot be let go on; see `virsh domblkerror`"))
        }
        false => Ok(()),
    }
}

async fn stands_still(virsh: &Virsh, domain: &str) -> Result<bool> {
    Ok(domain::state(virsh, domain).await?.starts_with("paused (I/O error)"))
}

/// Jobs that have left a socket of this domain's in a folder.
///
/// # Errors
/// `denied`.
pub(super) fn left(folder: &Path, domain: &str) -> Result<Vec<JobId>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| Error::from(error).context(folder.display()))?,
    };
    Ok(entries.flatten().filter_map(|entry| names::job_of(&entry.path(), domain)).collect())
}
