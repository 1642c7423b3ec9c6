use std::{path::Path, time::Duration};

use stillpoint_model::{Error, ErrorKind, Result};
use stillpoint_ports::{DiskSource, MachineSource};
use tokio::time::{Instant, sleep};

use super::{
    domain::{self, child, parse},
    settings::DomainSettings,
    virsh::Virsh,
};

const PAUSE: Duration = Duration::from_millis(250);

/// The libvirt that has a machine's domain, for restoring.
#[derive(Debug)]
pub struct Hypervisor {
    virsh: Virsh,
    domain: String,
}

impl Hypervisor {
    /// As a machine's record names it.
    ///
    /// # Errors
    /// `invalid`, naming the setting.
    pub fn of(machine: &MachineSource) -> Result<Self> {
        let settings = DomainSettings::read(&machine.settings)?;
        Ok(Self { virsh: Virsh::new(&settings.uri), domain: settings.domain })
    }

    /// Whether it has a domain of this name or UUID.
    ///
    /// # Errors
    /// `denied`, `unavailable`.
    pub async fn has(&self, domain: &str) -> Result<bool> {
        match domain::uuid(&self.virsh, domain).await {
            Err(error) if error.kind() == ErrorKind::Missing => Ok(false),
            found => found.map(|_| true),
        }
    }

    /// Defines the domain that a file describes.
    ///
    /// # Errors
    /// As libvirt.
    pub async fn define(&self, file: &Path) -> Result<()> {
        let file = file.to_str().ok_or_else(|| Error::invalid(format!("path {} is not UTF-8", file.display())))?;
        self.virsh.run(&["define", file]).await.map(drop)
    }

    /// Whether the machine's domain is on.
    ///
    /// # Errors
    /// `missing`, `denied`, `unavailable`.
    pub async fn is_on(&self) -> Result<bool> {
        let uuid = domain::uuid(&self.virsh, &self.domain).await?;
        Ok(!domain::state(&self.virsh, &uuid).await?.starts_with("shut off"))
    }

    /// Powers the machine's domain down and waits until it is off: its guest is asked, or with `force` it is not.
    ///
    /// # Errors
    /// `conflict` when it is not off within `patience`; as libvirt.
    pub async fn power_down(&self, force: bool, patience: Duration) -> Result<()> {
        let uuid = domain::uuid(&self.virsh, &self.domain).await?;
        self.virsh.run(&[if force { "destroy" } else { "shutdown" }, &uuid]).await?;
        let until = Instant::now() + patience;
        loop {
            match domain::state(&self.virsh, &uuid).await {
                Ok(state) if !state.starts_with("shut off") => {}
                // One without a definition is gone when it is off.
                Err(error) if error.kind() != ErrorKind::Missing => return Err(error),
                _ => return Ok(()),
            }
            if Instant::now() >= until {
                let seconds = patience.as_secs();
                return Err(Error::conflict(format!(
                    "the domain is not off after {seconds} s; stop it by hand, or give --stop=force, which does not ask its guest"
                )));
            }
            sleep(PAUSE).await;
        }
    }

    /// Refuses disks that are not as the machine's domain will have them when it starts next.
    ///
    /// # Errors
    /// `conflict`, naming the disk; as libvirt.
    pub async fn unless_elsewhere(&self, disks: &[DiskSource]) -> Result<()> {
        let uuid = domain::uuid(&self.virsh, &self.domain).await?;
        let text = self.virsh.run(&["dumpxml", "--inactive", &uuid]).await?;
        disks.iter().try_for_each(|disk| unless_elsewhere(&text, disk))
    }
}

fn unless_elsewhere(description: &str, disk: &DiskSource) -> Result<()> {
    let document = parse(description)?;
    let of = |node, name, attribute| child(node, name).and_then(|child| child.attribute(attribute)).map(str::to_owned);
    let found = document
        .descendants()
        .find(|node| node.has_tag_name("disk") && of(*node, "target", "dev").is_some_and(|name| name == disk.name.as_str()));
    let now = found.and_then(|node| {
        let file = of(node, "source", "file").or_else(|| of(node, "source", "dev"))?;
        Some(format!("{}:{file}", of(node, "driver", "type").unwrap_or_else(|| "raw".to_owned())))
    });
    if now.as_ref() != Some(&disk.location) {
        return Err(Error::conflict(format!(
            "the domain's definition has disk {} at {}, the machine's record at {}; write it anew with machine add --replace",
            disk.name,
            now.as_deref().unwrap_or("no file").escape_debug(),
            disk.location.escape_debug()
        )));
    }
    if found.and_then(|node| child(node, "backingStore")).is_some_and(|backing| backing.attribute("type").is_some()) {
        return Err(Error::conflict(format!(
            "disk {} stands over another image in the domain's definition, which would show through; restore it with --as or --to",
            disk.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTION: &str = "<domain><devices>
        <disk type='file'><driver type='qcow2'/><source file='/d/a'/><backingStore/><target dev='vda'/></disk>
        <disk type='block'><source dev='/dev/b'/><target dev='vdb'/></disk>
        <disk type='file'><driver type='qcow2'/><source file='/d/c'/><backingStore type='file'/><target dev='vdc'/></disk>
        </devices></domain>";

    #[test]
    fn a_disk_that_the_domain_does_not_use_is_not_replaced() {
        let check = |name: &str, location: &str| {
            let disk = DiskSource { name: name.parse().unwrap(), location: location.to_owned() };
            unless_elsewhere(DESCRIPTION, &disk).map_err(|error| error.one_line())
        };
        assert_eq!(check("vda", "qcow2:/d/a"), Ok(()));
        assert_eq!(check("vdb", "raw:/dev/b"), Ok(()));
        let refused = [
            ("vda", "qcow2:/d/b", "has disk vda at qcow2:/d/a"),
            ("vda", "raw:/d/a", "has disk vda at qcow2:/d/a"),
            ("vdz", "raw:/z", "has disk vdz at no file"),
            ("vdc", "qcow2:/d/c", "would show through"),
        ];
        for (name, location, said) in refused {
            let line = check(name, location).unwrap_err();
            assert!(line.contains(said), "{line}");
        }
    }
}
