//! `restore --replace`: a machine's disks as they were, in place of those that it has.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use serde_json::json;
use stillpoint_model::{DiskName, Error, ErrorKind, JobId, Result};
use stillpoint_ports::TargetDisk;
use stillpoint_qemu::is_on;
use stillpoint_vault::Item;

use super::{Chosen, Places, Wanted, carry_out, domain, report};
use crate::{
    args::{Format, PowerDown, Restore},
    disks,
    interrupt::Interrupt,
    output, remote,
    session::Session,
};

/// Until QEMU has let go of the disks whose machine has ended.
const LETS_GO: u32 = 40;
const PAUSE: Duration = Duration::from_millis(250);
/// How long a guest may take to power down.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between the name of a disk and the job that replaced it.
const BEFORE: &str = ".before-";

pub async fn run(session: &Session, args: Restore) -> Result<ExitCode> {
    let site = remote::site(&session.global)?;
    if session.remote.is_some() && !remote::is_here(&site) {
        return Err(Error::invalid(format!("disks are replaced where they are; run this at site {}", site.as_str())));
    }
    let item = session.vault.item(args.name()?).await?;
    let own = own_disks(&item)?;
    let old = own.values().map(|(_, path)| old_of(path)).collect::<Result<Vec<_>>>()?.concat();
    if !args.replace {
        return discard(session, &old);
    }
    if let Some(first) = old.first().filter(|_| !args.discard_old) {
        return Err(Error::conflict(format!(
            "{} is there since an earlier --replace; give --discard-old to remove such disks once the new ones are there",
            first.display()
        )));
    }
    let places = own.iter().map(|(name, (format, path))| Ok((name.clone(), disks::image(*format, path)?)));
    let places = Places::Own(places.collect::<Result<_>>()?);
    let wanted = Wanted { name: args.name()?.clone(), point: args.point, places, overwrite: true, limits: None };
    // All that can be refused is refused before the machine is stopped.
    let chosen = Chosen::find(session, &wanted).await?;
    let targets = chosen.targets(&wanted)?;
    power_down(&item, args.stop).await?;
    if args.stop.is_some() {
        wait_until_free(session, &targets).await?;
    }
    let job = carry_out(session, wanted, chosen, targets, &mut Interrupt::listen()?).await?;
    super::outcome_of(&job)?;
    old.iter().try_for_each(|path| remove(path))?;
    let replaced = own.values().map(|(_, path)| old_of(path)).collect::<Result<Vec<_>>>()?.concat();
    report(session, &job, json!({ "replaced": replaced }), &[])
}

fn discard(session: &Session, old: &[PathBuf]) -> Result<ExitCode> {
    old.iter().try_for_each(|path| remove(path))?;
    if session.global.json {
        output::json(&json!({ "removed": old }))?;
    } else {
        old.iter().for_each(|path| output::line(&format!("removed {}", path.display())));
        if old.is_empty() {
            output::line("there are no old disks");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|error| Error::from(error).context(format!("cannot remove {}", path.display())))
}

/// The machine's disks as its record names them.
fn own_disks(item: &Item) -> Result<BTreeMap<DiskName, (Format, PathBuf)>> {
    let mut own = BTreeMap::new();
    for disk in &item.disks {
        let refuse = |why: &str| Err(Error::invalid(format!("disk {} ({}) {why}", disk.name, disk.location.escape_debug())));
        let (format, path) = match (item.platform.as_str(), disk.location.split_once(':')) {
            ("image", _) => (Format::Raw, disk.location.as_str()),
            ("qemu" | domain::PLATFORM, Some(("raw", path))) => (Format::Raw, path),
            ("qemu" | domain::PLATFORM, Some(("qcow2", path))) => (Format::Qcow2, path),
            ("qemu" | domain::PLATFORM, _) => return refuse("is neither raw nor qcow2; restore it with --disk"),
            _ => return Err(Error::invalid(format!("disks of platform {} cannot be replaced", item.platform))),
        };
        if !Path::new(path).is_absolute() {
            return refuse("has no absolute path; restore it with --disk");
        }
        if fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device()) {
            return refuse("is a block device, whose old content cannot stay beside it; restore it with --disk and --overwrite");
        }
        own.insert(disk.name.clone(), (format, PathBuf::from(path)));
    }
    Ok(own)
}

/// Old disks that earlier jobs have left beside a disk.
fn old_of(path: &Path) -> Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| Error::from(error).context(folder.display()))?,
    };
    let is_old = |found: &str| {
        let job = found.strip_prefix(name).and_then(|rest| rest.strip_prefix(BEFORE));
        job.is_some_and(|job| job.parse::<JobId>().is_ok())
    };
    Ok(entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_old)).map(|entry| entry.path()).collect())
}

/// Refuses a machine that runs, unless it is to be stopped.
async fn power_down(item: &Item, stop: Option<PowerDown>) -> Result<()> {
    if item.platform == domain::PLATFORM {
        return domain::power_down(item, stop).await;
    }
    if item.platform != "qemu" {
        return match stop {
            Some(_) => {
                Err(Error::invalid(format!("platform {} cannot stop machines; stop {} by hand", item.platform, item.name)))
            }
            None => Ok(()),
        };
    }
    let qmp = item.settings.get("qmp").and_then(|socket| socket.strip_prefix("unix:")).map(PathBuf::from);
    let qmp = qmp.ok_or_else(|| Error::invalid(format!("the record of machine {} names no monitor", item.name)))?;
    if !is_on(&qmp).await? {
        return Ok(());
    }
    let Some(how) = stop else {
        return Err(Error::conflict(format!("machine {} is on ({}); give --stop to power it down", item.name, qmp.display())));
    };
    stillpoint_qemu::power_down(&qmp, (how == PowerDown::Ask).then_some(PATIENCE)).await
}

async fn wait_until_free(session: &Session, targets: &[TargetDisk]) -> Result<()> {
    let job = JobId::new(session.vault.ulid());
    for _ in 0..LETS_GO {
        match session.target.check(job, targets).await {
            Err(error) if error.kind() == ErrorKind::Conflict => tokio::time::sleep(PAUSE).await,
            checked => return checked,
        }
    }
    session.target.check(job, targets).await
}
