//! Restoring machines of platform `libvirt`: `--as` defines a domain over the restored disks, `--replace` wants theirs to be off.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::json;
use stillpoint_model::{Error, ErrorKind, ItemName, Result};
use stillpoint_ports::{FirmwareVariables, TargetDisk};
use stillpoint_qemu::{Definition, Hypervisor, Identity, NewDomain, RestoredDisk};
use stillpoint_vault::{Description, Item};

use super::{Chosen, Places, Wanted, anew, carry_out, firmware, replace, report};
use crate::{
    args::{Format, PowerDown, Restore},
    disks,
    interrupt::Interrupt,
    remote,
    session::Session,
    start::Fresh,
};

pub const PLATFORM: &str = "libvirt";

/// The libvirt of a machine of this platform.
pub async fn hypervisor(session: &Session, name: &ItemName) -> Result<Option<Hypervisor>> {
    match session.vault.item(name).await {
        Ok(item) if item.platform == PLATFORM => Hypervisor::of(&item.source()).map(Some),
        Err(error) if error.kind() != ErrorKind::Missing => Err(error),
        _ => Ok(None),
    }
}

/// Restores to a folder and defines a domain there. All that can be refused is refused before there is a job.
pub async fn run(session: &Session, args: Restore, hypervisor: Hypervisor) -> Result<ExitCode> {
    if args.instant || args.no_network {
        return Err(Error::invalid("--instant and --no-network are for machines of platform qemu; restore the domain whole"));
    }
    let machine = args.name()?.clone();
    let (Some(folder), Some(name)) = (args.to, args.new_name) else { return Err(Error::invalid("--as needs --to")) };
    if session.remote.is_some() && !remote::is_here(&remote::site(&session.global)?) {
        return Err(Error::invalid("the domain is defined where the disks go; run this at that site"));
    }
    let folder = PathBuf::from(disks::location(&folder)?);
    let path = folder.join(format!("{name}.xml"));
    if path.exists() && !args.overwrite {
        return Err(Error::conflict(format!("{} exists; give --overwrite to replace it", path.display())));
    }
    let places = Places::Folder(folder.clone(), args.format.unwrap_or(Format::Raw));
    let wanted = Wanted { name: machine, point: args.point, places, overwrite: args.overwrite, limits: None };
    let chosen = Chosen::find(session, &wanted).await?;
    let targets = chosen.targets(&wanted)?;
    firmware::unless_there(&folder, args.overwrite)?;
    let told = told(session, &wanted.name, &chosen).await?;
    let variables = told.firmware_variables.as_ref();
    let file = variables.map(|_| firmware::path(&folder));
    let disks: Vec<RestoredDisk> = targets.iter().map(restored).collect();
    let fresh = (!args.same_identity).then(identity);
    let asked = NewDomain {
        configuration: &told.configuration,
        name: name.as_str(),
        folder: &folder,
        disks: &disks,
        firmware_variables: file.as_deref(),
        fresh,
    };
    let Definition { xml, uuid, mut warnings } = asked.define()?;
    warnings.extend(told.notice(chosen.point));
    unless_there(&hypervisor, name.as_str(), uuid.as_deref()).await?;
    let job = carry_out(session, wanted, chosen, targets, &mut Interrupt::listen()?).await?;
    super::outcome_of(&job)?;
    let defined = define(&hypervisor, &path, &xml, variables).await;
    if let Err(error) = &defined {
        warnings.push(format!("the domain is not defined: {}; try `virsh define {}`", error.one_line(), path.display()));
    }
    let domain = defined.is_ok().then_some(name);
    let more = json!({
        "domain": domain, "uuid": uuid, "definition": path, "firmware_variables": file, "warnings": warnings,
    });
    report(session, &job, more, &warnings)
}

/// The domain's definition, and what its firmware remembers.
async fn told(session: &Session, name: &ItemName, chosen: &Chosen) -> Result<Description> {
    let point = match session.vault.point(name, chosen.point).await {
        Err(error) if error.kind() == ErrorKind::Missing && chosen.snapshot.is_some() => {
            return Err(Error::conflict(format!(
                "point {} is not in the vault yet, and so is the domain's definition; restore its disks without --as",
                chosen.point
            )));
        }
        point => point?,
    };
    session.vault.description(&point).await?.ok_or_else(|| {
        Error::missing(format!("no point of {name} holds a definition of the domain; restore its disks without --as"))
    })
}

fn restored(disk: &TargetDisk) -> RestoredDisk {
    let (format, file) = disk.location.strip_prefix("qcow2:").map_or(("raw", &*disk.location), |path| ("qcow2", path));
    RestoredDisk { name: disk.name.clone(), file: file.into(), format }
}

fn identity() -> Identity {
    let mut fresh = Fresh(Box::new(anew::random));
    Identity { uuid: fresh.uuid(), mac: Box::new(move || fresh.mac()) }
}

/// libvirt would change a domain that is there, or refuse after all was restored.
async fn unless_there(hypervisor: &Hypervisor, name: &str, uuid: Option<&str>) -> Result<()> {
    if hypervisor.has(name).await? {
        return Err(Error::conflict(format!("libvirt has a domain {name} already; give another name")));
    }
    match uuid {
        Some(uuid) if hypervisor.has(uuid).await? => {
            Err(Error::conflict(format!("libvirt has a domain with the UUID {uuid} already; do without --same-identity")))
        }
        _ => Ok(()),
    }
}

async fn define(hypervisor: &Hypervisor, path: &Path, xml: &str, variables: Option<&FirmwareVariables>) -> Result<()> {
    if let (Some(variables), Some(folder)) = (variables, path.parent()) {
        firmware::write(folder, variables)?;
    }
    // It may hold secrets.
    anew::store(path, xml.as_bytes(), 0o600)?;
    hypervisor.define(path).await
}

/// Refuses to replace disks of a domain that runs, unless it is to be stopped, and those that it would not use.
pub async fn power_down(item: &Item, stop: Option<PowerDown>) -> Result<()> {
    let hypervisor = Hypervisor::of(&item.source())?;
    hypervisor.unless_elsewhere(&item.disks).await?;
    if !hypervisor.is_on().await? {
        return Ok(());
    }
    match stop {
        Some(how) => hypervisor.power_down(how == PowerDown::Force, replace::PATIENCE).await,
        None => Err(Error::conflict(format!("the domain of machine {} is on; give --stop to power it down", item.name))),
    }
}
