//! What a machine consists of, as its monitor tells it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::json;
use stillpoint_model::{DiskName, Error, Result, geometry::DISKS_MAX};
use stillpoint_ports::{DiskSource, FoundDisk};

use crate::{
    names::{Bitmap, Node},
    qmp::Qmp,
};

/// A device that the guest sees, of `query-block`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Device {
    device: String,
    qdev: Option<String>,
    removable: bool,
    inserted: Option<NodeInfo>,
}

impl Device {
    /// Whether it is a flash device: `/machine/system.flash1`, on ARM `/machine/virt.flash1`.
    fn is_firmware(&self) -> bool {
        self.qdev.as_ref().is_some_and(|path| path.contains(".flash")) || self.device.starts_with("pflash")
    }
}

/// A node of QEMU's block graph, of `query-named-block-nodes`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct NodeInfo {
    pub(crate) node_name: Option<String>,
    pub(crate) drv: String,
    pub(crate) ro: bool,
    pub(crate) file: String,
    /// What it reads where it holds nothing itself.
    #[serde(rename = "backing_file")]
    pub(crate) backing: Option<String>,
    image: Image,
    #[serde(default)]
    pub(crate) dirty_bitmaps: Vec<BitmapInfo>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    virtual_size: u64,
}

impl NodeInfo {
    /// The size that a guest sees.
    pub(crate) const fn size_bytes(&self) -> u64 {
        self.image.virtual_size
    }
}

/// A dirty bitmap on a node; filters have some without a name.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct BitmapInfo {
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) inconsistent: bool,
    #[serde(default)]
    pub(crate) recording: bool,
}

impl BitmapInfo {
    /// One of ours.
    pub(crate) fn ours(&self) -> Option<Bitmap> {
        self.name.as_ref()?.parse().ok()
    }
}

/// The machine's graph at one moment.
pub(crate) struct View {
    devices: Vec<Device>,
    pub(crate) nodes: Vec<NodeInfo>,
}

/// A disk of the machine.
#[derive(Debug, Clone)]
pub(crate) struct MachineDisk {
    pub(crate) name: DiskName,
    /// The node that holds its bytes.
    pub(crate) node: String,
    /// Path of the device's object; none where no guest is there.
    pub(crate) device: Option<String>,
    pub(crate) size_bytes: u64,
    /// `raw`, `qcow2`, …
    pub(crate) format: String,
    pub(crate) file: PathBuf,
    pub(crate) bitmaps: Vec<BitmapInfo>,
}

impl MachineDisk {
    /// Whether bitmaps on it outlive QEMU.
    pub(crate) fn keeps_bitmaps(&self) -> bool {
        self.format == "qcow2"
    }

    /// What the machine's record says of it.
    pub(crate) fn found(&self) -> FoundDisk {
        let location = format!("{}:{}", self.format, self.file.display());
        FoundDisk { source: DiskSource { name: self.name.clone(), location }, size_bytes: self.size_bytes }
    }
}

/// Format and path of a disk, as [`MachineDisk::found`] has written them.
pub(crate) fn parse_location(source: &DiskSource) -> Result<(&str, &Path)> {
    let parts = source.location.split_once(':').map(|(format, path)| (format, Path::new(path)));
    parts
        .filter(|(_, path)| path.is_absolute())
        .ok_or_else(|| Error::invalid(format!("disk {}: '{}' is no FORMAT:/PATH", source.name, source.location.escape_debug())))
}

impl View {
    /// Asks.
    pub(crate) async fn read(qmp: &mut Qmp) -> Result<Self> {
        let devices = qmp.query("query-block", json!({})).await?;
        let nodes = qmp.query("query-named-block-nodes", json!({ "flat": true })).await?;
        Ok(Self { devices, nodes })
    }

    /// The node under what a snapshot has put over it: it has the snapshot's bitmap.
    pub(crate) fn base(&self, node: &Node) -> Option<&NodeInfo> {
        let marks = |info: &BitmapInfo| matches!(info.ours(), Some(Bitmap::Held { job, position }) if job == node.job && position == node.position);
        self.nodes.iter().find(|info| info.dirty_bitmaps.iter().any(marks))
    }

    /// Files that nodes lie in, as QEMU names them.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.nodes.iter().map(|info| PathBuf::from(&info.file)).filter(|file| file.is_absolute())
    }

    /// The device that has a node as its root.
    pub(crate) fn device_over(&self, name: &str) -> Option<&str> {
        let over = |device: &&Device| device.inserted.as_ref().is_some_and(|info| info.node_name.as_deref() == Some(name));
        self.devices.iter().find(over)?.qdev.as_deref()
    }

    /// The node in which the firmware keeps its variables. Where two flash devices can be written to, it is the second, as machines have them.
    pub(crate) fn firmware_variables(&self) -> Option<&NodeInfo> {
        let written = |device: &&Device| device.is_firmware() && device.inserted.as_ref().is_some_and(|info| !info.ro);
        let last = self.devices.iter().filter(written).max_by_key(|device| device.qdev.as_deref().unwrap_or(&device.device));
        last?.inserted.as_ref()
    }

    /// The disks that are backed up: all that the guest can write to and nobody takes out, and that are not excluded.
    ///
    /// # Errors
    /// `invalid` when there are none or too many, when two have one name, or when one is excluded that is not there.
    pub(crate) fn disks(&self, exclude: &BTreeSet<DiskName>) -> Result<Vec<MachineDisk>> {
        let mut all = Vec::new();
        for (position, device) in self.devices.iter().enumerate() {
            if let Some(disk) = self.disk(device, position)? {
                all.push(disk);
            }
        }
        if let Some(name) = exclude.iter().find(|name| all.iter().all(|disk| disk.name != **name)) {
            let names = all.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::invalid(format!(
                "disk {name} is to be left out, and the machine has none of that name; it has {names}"
            )));
        }
        all.retain(|disk| !exclude.contains(&disk.name));
        if all.is_empty() || all.len() > DISKS_MAX {
            return Err(Error::invalid(format!("the machine has {} disks to back up, not 1 to {DISKS_MAX}", all.len())));
        }
        let mut names: Vec<_> = all.iter().map(|disk| &disk.name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::invalid(format!("two disks of the machine are both called {}", pair[0]))),
            None => Ok(all),
        }
    }

    fn disk(&self, device: &Device, position: usize) -> Result<Option<MachineDisk>> {
        let (Some(inserted), Some(path)) = (&device.inserted, &device.qdev) else { return Ok(None) };
        if device.removable || inserted.ro || device.is_firmware() {
            return Ok(None);
        }
        let own = inserted.node_name.as_deref().unwrap_or_default().parse::<Node>().ok();
        let info = own.and_then(|node| self.base(&node)).unwrap_or(inserted);
        let node =
            info.node_name.clone().ok_or_else(|| Error::invalid(format!("device {path} has a disk without a node name")))?;
        Ok(Some(MachineDisk {
            name: name(device, path, position)?,
            node,
            device: Some(path.clone()),
            size_bytes: info.size_bytes(),
            format: info.drv.clone(),
            file: info.file.clone().into(),
            bitmaps: info.dirty_bitmaps.clone(),
        }))
    }
}

/// A disk is called what the operator called its drive, or else its device; one without any such name by its position.
fn name(device: &Device, path: &str, position: usize) -> Result<DiskName> {
    let id = path.strip_prefix("/machine/peripheral/").map_or(path, |rest| rest.split('/').next().unwrap_or(rest));
    let given = if device.device.is_empty() { id } else { &device.device };
    if given.starts_with('/') {
        return format!("disk{position}").parse();
    }
    let allowed = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9' | '-' | '_' | '.') => letter,
        _ => '-',
    };
    given.trim_start_matches(['.', '#']).chars().map(allowed).collect::<String>().parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(devices: serde_json::Value) -> View {
        View { devices: serde_json::from_value(devices).unwrap(), nodes: Vec::new() }
    }

    fn inserted(node: &str, ro: bool) -> serde_json::Value {
        json!({ "node-name": node, "drv": "qcow2", "ro": ro, "file": "/d/a.qcow2", "image": { "virtual-size": 1 << 20 } })
    }

    fn device(device: &str, qdev: &str, removable: bool, inserted: &serde_json::Value) -> serde_json::Value {
        json!({ "device": device, "qdev": qdev, "removable": removable, "inserted": inserted })
    }

    #[test]
    fn disks_are_named_as_the_operator_named_them() {
        let disk = inserted("n", false);
        let devices = json!([
            device("virtio0", "/machine/peripheral-anon/device[0]/virtio-backend", false, &disk),
            device("", "/machine/peripheral/DB data/virtio-backend", false, &disk),
            device("", "scsi-1", false, &disk),
            device("", "/machine/peripheral-anon/device[3]/virtio-backend", false, &disk),
            device("ide1-cd0", "/machine/unattached/device[5]", true, &disk),
            device("", "/machine/peripheral/iso", false, &inserted("n", true)),
            device("pflash1", "/machine/system.flash1", false, &disk),
            json!({ "device": "floppy0", "removable": true, "qdev": null }),
        ]);
        let names = |exclude: &[&str]| -> Result<Vec<String>> {
            let exclude = exclude.iter().map(|name| name.parse().unwrap()).collect();
            Ok(view(devices.clone()).disks(&exclude)?.iter().map(|disk| disk.name.to_string()).collect())
        };
        assert_eq!(names(&[]).unwrap(), ["virtio0", "db-data", "scsi-1", "disk3"]);
        assert_eq!(names(&["virtio0"]).unwrap(), ["db-data", "scsi-1", "disk3"]);
        assert!(names(&["swap"]).unwrap_err().to_string().contains("has none of that name"));
        assert!(names(&["virtio0", "db-data", "scsi-1", "disk3"]).is_err());
    }

    #[test]
    fn variables_are_in_the_last_flash_that_can_be_written_to() {
        let flash = |name: &str, ro| device("", &format!("/machine/{name}"), false, &inserted(&format!("node of {name}"), ro));
        let node = |devices: serde_json::Value| view(devices).firmware_variables().and_then(|info| info.node_name.clone());
        let disk = device("virtio0", "/machine/peripheral/a", false, &inserted("n", false));
        assert_eq!(node(json!([disk])), None);
        assert_eq!(node(json!([flash("system.flash0", true), disk])), None);
        for (name, writable_code) in [("system", false), ("virt", false), ("system", true)] {
            let (code, variables) = (flash(&format!("{name}.flash0"), !writable_code), flash(&format!("{name}.flash1"), false));
            let expected = Some(format!("node of {name}.flash1"));
            assert_eq!(node(json!([code, variables])), expected);
            assert_eq!(node(json!([variables, code])), expected);
        }
        assert_eq!(node(json!([flash("system.flash0", false), flash("system.flash1", true)])).unwrap(), "node of system.flash0");
        let empty = json!({ "device": "pflash1", "removable": false, "qdev": "/machine/system.flash1" });
        assert_eq!(node(json!([empty])), None);
    }

    #[test]
    fn two_disks_of_one_name_are_refused() {
        let disk = inserted("n", false);
        let devices =
            json!([device("", "/machine/peripheral/A", false, &disk), device("", "/machine/peripheral/a", false, &disk)]);
        assert!(view(devices).disks(&BTreeSet::new()).unwrap_err().to_string().contains("both called a"));
    }
}
