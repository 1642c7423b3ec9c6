//! What a domain consists of, as libvirt tells it.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use roxmltree::{Document, Node};
use serde_json::json;
use stillpoint_model::{DiskName, Error, Result, geometry::DISKS_MAX};
use stillpoint_ports::{DiskSource, FoundDisk};

use super::{firmware::Firmware, virsh::Virsh};

/// Longest description of a domain that is kept.
const CONFIGURATION_BYTES_MAX: usize = 200 << 10;

/// A disk of a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DomainDisk {
    /// As the domain calls it: `vda`.
    pub(super) name: DiskName,
    pub(super) format: String,
    pub(super) file: PathBuf,
    pub(super) size_bytes: u64,
}

/// A domain.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) uuid: String,
    /// `running`, `shut off`, `paused`, …, and why.
    pub(super) state: String,
    /// Those that are backed up.
    pub(super) disks: Vec<DomainDisk>,
    pub(super) firmware: Firmware,
}

impl DomainDisk {
    /// Whether bitmaps can be kept on it.
    pub(super) fn keeps_bitmaps(&self) -> bool {
        self.format == "qcow2"
    }

    /// What the machine's record says of it; as on platform `qemu`.
    pub(super) fn source(&self) -> DiskSource {
        DiskSource { name: self.name.clone(), location: format!("{}:{}", self.format, self.file.display()) }
    }

    pub(super) fn found(&self) -> FoundDisk {
        FoundDisk { source: self.source(), size_bytes: self.size_bytes }
    }

    /// The image, not only its path: another that takes its place has another number.
    pub(super) fn image(&self) -> String {
        let number = std::fs::metadata(&self.file).map_or(0, |found| found.ino());
        format!("{}#{number}", self.file.display())
    }
}

impl Domain {
    /// Asks.
    ///
    /// # Errors
    /// `missing`, `denied`, `unavailable`; `invalid` when the domain cannot be backed up, with the reason.
    pub(super) async fn read(virsh: &Virsh, domain: &str, exclude: &BTreeSet<DiskName>) -> Result<Self> {
        let uuid = uuid(virsh, domain).await?;
        let description = virsh.run(&["dumpxml", &uuid]).await?;
        let sizes = sizes(&virsh.run(&["domstats", "--block", &uuid]).await?);
        let state = state(virsh, &uuid).await?;
        let disks = chosen(disks(&description, &sizes)?, exclude)?;
        Ok(Self { uuid, state, disks, firmware: Firmware::described(&description)? })
    }

    pub(super) fn is_on(&self) -> bool {
        !self.state.starts_with("shut off") && !self.state.starts_with("crashed")
    }

    pub(super) fn runs(&self) -> bool {
        self.state.starts_with("running")
    }
}

/// The domain's UUID. virsh takes a number for the id of another domain, so what it found is compared.
pub(super) async fn uuid(virsh: &Virsh, domain: &str) -> Result<String> {
    let text = virsh.run(&["dumpxml", "--inactive", domain]).await?;
    let document = parse(&text)?;
    let field = |name| text_of(document.root_element(), name);
    match (field("name"), field("uuid")) {
        (Some(name), Some(uuid)) if name == domain || uuid == domain => Ok(uuid.to_owned()),
        _ => Err(Error::missing(format!("libvirt has no domain '{}'", domain.escape_debug()))),
    }
}

/// The domain's state and the reason for it: `paused (I/O error)`.
pub(super) async fn state(virsh: &Virsh, uuid: &str) -> Result<String> {
    Ok(virsh.run(&["domstate", "--reason", uuid]).await?.trim().to_owned())
}

/// What the domain can be made again from, as JSON `{"domain_xml": "…"}`; it may hold secrets. None where it is too long.
pub(super) async fn configuration(virsh: &Virsh, uuid: &str) -> Option<String> {
    let text = virsh.run(&["dumpxml", "--inactive", "--security-info", uuid]).await.ok()?;
    let text = json!({ "domain_xml": text }).to_string();
    (text.len() <= CONFIGURATION_BYTES_MAX).then_some(text)
}

pub(super) fn parse(text: &str) -> Result<Document<'_>> {
    Document::parse(text).map_err(|error| Error::internal("libvirt answers in an unknown form").with_source(error))
}

/// The text of a child.
pub(super) fn text_of<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name)?.text()
}

/// A child by its name.
pub(super) fn child<'a, 'b>(node: Node<'a, 'b>, name: &str) -> Option<Node<'a, 'b>> {
    node.children().find(|child| child.has_tag_name(name))
}

/// The disks' sizes, of `domstats --block`.
fn sizes(text: &str) -> BTreeMap<String, u64> {
    let mut names = BTreeMap::new();
    let mut sizes = BTreeMap::new();
    for (field, value) in text.lines().filter_map(|line| line.trim().strip_prefix("block.")?.split_once('=')) {
        let Some((number, field)) = field.split_once('.') else { continue };
        match (field, value.parse::<u64>()) {
            ("name", _) => drop(names.insert(number, value)),
            ("capacity", Ok(size)) => drop(names.get(number).map(|name| sizes.insert((*name).to_owned(), size))),
            _ => {}
        }
    }
    sizes
}

/// All that the guest can write to and nobody takes out.
fn disks(description: &str, sizes: &BTreeMap<String, u64>) -> Result<Vec<DomainDisk>> {
    let document = parse(description)?;
    let devices = child(document.root_element(), "devices");
    let all = devices.iter().flat_map(|devices| devices.children()).filter(|node| node.has_tag_name("disk"));
    let is_disk = |node: &Node<'_, '_>| node.attribute("device").is_none_or(|kind| kind == "disk" || kind == "lun");
    all.filter(is_disk).filter(|node| child(*node, "readonly").is_none()).map(|node| disk(node, sizes)).collect()
}

fn disk(node: Node<'_, '_>, sizes: &BTreeMap<String, u64>) -> Result<DomainDisk> {
    let of = |name, attribute| child(node, name).and_then(|child| child.attribute(attribute));
    let target = of("target", "dev").ok_or_else(|| Error::internal("libvirt describes a disk without a target"))?;
    let name: DiskName = target.parse()?;
    let file = of("source", "file").or_else(|| of("source", "dev")).map(Path::new);
    Ok(DomainDisk {
        format: of("driver", "type").unwrap_or("raw").to_owned(),
        // Refused later, unless it is left out.
        file: file.map(Path::to_owned).unwrap_or_default(),
        size_bytes: sizes.get(target).copied().unwrap_or(0),
        name,
    })
}

fn chosen(mut disks: Vec<DomainDisk>, exclude: &BTreeSet<DiskName>) -> Result<Vec<DomainDisk>> {
    if let Some(name) = exclude.iter().find(|name| disks.iter().all(|disk| disk.name != **name)) {
        let names = disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Error::invalid(format!(
            "disk {name} is to be left out, and the domain has none of that name; it has {names}"
        )));
    }
    disks.retain(|disk| !exclude.contains(&disk.name));
    if disks.is_empty() || disks.len() > DISKS_MAX {
        return Err(Error::invalid(format!("the domain has {} disks to back up, not 1 to {DISKS_MAX}", disks.len())));
    }
    match disks.iter().find(|disk| !disk.file.is_absolute() || disk.size_bytes == 0) {
        Some(disk) => Err(Error::invalid(format!(
            "disk {} is no file or block device of this host that can be read; leave it out with --exclude {}",
            disk.name, disk.name
        ))),
        None => Ok(disks),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTION: &str = "<domain type='kvm'><name>a</name><devices><emulator>/usr/bin/qemu</emulator>
        <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/d/a &amp; b.qcow2'/><target dev='vda' bus='virtio'/></disk>
        <disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vg/b'/><target dev='vdb' bus='virtio'/></disk>
        <disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='rbd' name='p/c'/><target dev='vdc'/></disk>
        <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
        <disk type='file' device='disk'><source file='/d/shared.iso'/><target dev='vdd'/><readonly/></disk></devices></domain>";
    const STATS: &str =
        "Domain: 'a'\n  block.count=3\n  block.0.name=vda\n  block.0.path=/d/a & b.qcow2\n  block.0.rd.bytes=10752
  block.0.capacity=67108864\n  block.1.name=vdb\n  block.1.capacity=8388608\n  block.2.name=vdc\n  block.2.capacity=512\n";

    #[test]
    fn disks_are_found_by_their_targets() {
        let all = disks(DESCRIPTION, &sizes(STATS)).unwrap();
        let without: BTreeSet<DiskName> = ["vdc".parse().unwrap()].into();
        let found = chosen(all.clone(), &without).unwrap();
        let shown: Vec<_> = found.iter().map(|disk| (disk.name.as_str(), disk.source().location, disk.size_bytes)).collect();
        assert_eq!(shown, [("vda", "qcow2:/d/a & b.qcow2".to_owned(), 64 << 20), ("vdb", "raw:/dev/vg/b".to_owned(), 8 << 20)]);
        assert!(chosen(all.clone(), &BTreeSet::new()).unwrap_err().to_string().contains("--exclude vdc"));
        let unknown = ["sdz".parse().unwrap()].into();
        assert!(chosen(all, &unknown).unwrap_err().to_string().contains("it has vda, vdb, vdc"));
    }
}
