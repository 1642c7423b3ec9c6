//! The description of a restored domain, made from that of the one that was backed up: only what has to change is changed, the rest stays as
//! libvirt has written it.

mod edits;
mod firmware;
mod outside;

use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};
use serde::Deserialize;
use stillpoint_model::{DiskName, Error, Result};

use super::{
    backup::escaped,
    domain::{child, text_of},
};
use edits::Edits;

/// A disk that is there again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredDisk {
    /// As the domain calls it.
    pub name: DiskName,
    /// Where it is, an absolute path.
    pub file: PathBuf,
    /// `raw` or `qcow2`.
    pub format: &'static str,
}

/// What tells a domain from the one that it is made from.
pub struct Identity {
    /// Its UUID.
    pub uuid: String,
    /// A MAC address, another one each time.
    pub mac: Box<dyn FnMut() -> String>,
}

/// What a domain is made from.
pub struct NewDomain<'a> {
    /// As a point holds it: JSON `{"domain_xml": "…"}`.
    pub configuration: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Sockets and logs move here; an absolute path.
    pub folder: &'a Path,
    /// All disks that it shall have besides those that nobody writes to.
    pub disks: &'a [RestoredDisk],
    /// The file that its firmware's variables are in, if they are there again; an absolute path.
    pub firmware_variables: Option<&'a Path>,
    /// None to be the same.
    pub fresh: Option<Identity>,
}

/// A domain for libvirt to define.
#[derive(Debug)]
pub struct Definition {
    /// The description; it may hold secrets.
    pub xml: String,
    /// The domain's UUID.
    pub uuid: Option<String>,
    /// What the operator should know, a line each.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Configuration {
    domain_xml: String,
}

impl NewDomain<'_> {
    /// Describes it.
    ///
    /// # Errors
    /// `invalid` when the configuration is no domain of libvirt's.
    pub fn define(self) -> Result<Definition> {
        let unknown = "the point's configuration is no domain of libvirt's";
        let Configuration { domain_xml } =
            serde_json::from_str(self.configuration).map_err(|error| Error::invalid(unknown).with_source(error))?;
        let document = Document::parse(&domain_xml).map_err(|error| Error::invalid(unknown).with_source(error))?;
        let root = document.root_element();
        if !root.has_tag_name("domain") {
            return Err(Error::invalid(unknown));
        }
        let Self { name, folder, disks, mut fresh, .. } = self;
        let folder = folder.to_str().ok_or_else(|| Error::invalid(format!("path {} is not UTF-8", folder.display())))?;
        let mut edits = Edits::of(&domain_xml);
        let mut warnings = Vec::new();
        identify(&mut edits, root, name, fresh.as_mut());
        drop_transient(&mut edits, root, &mut warnings);
        firmware::lead(&mut edits, root, self.firmware_variables, &mut warnings);
        let devices = child(root, "devices");
        for node in devices.iter().flat_map(|devices| devices.children()).filter(|node| node.has_tag_name("disk")) {
            disk(&mut edits, node, disks, &mut warnings);
        }
        let known = |disk: &RestoredDisk| {
            let mut all = devices.iter().flat_map(|devices| devices.children());
            all.any(|node| target(node) == Some(disk.name.as_str()))
        };
        warnings.extend(
            disks.iter().filter(|disk| !known(disk)).map(|disk| {
                format!("disk {} is not in the domain's definition; attach {} by hand", disk.name, disk.file.display())
            }),
        );
        outside::bring_in(&mut edits, root, folder);
        warnings.extend(outside::shared(root));
        let uuid = fresh.map(|fresh| fresh.uuid).or_else(|| text_of(root, "uuid").map(str::to_owned));
        Ok(Definition { xml: edits.finish(), uuid, warnings })
    }
}

/// Name, UUID, MAC addresses; a guest that looks at its generation is always told that time went back.
fn identify(edits: &mut Edits, root: Node<'_, '_>, name: &str, fresh: Option<&mut Identity>) {
    for node in root.children().filter(|node| node.has_tag_name("name")) {
        edits.replace(node.range(), format!("<name>{}</name>", escaped(name)));
    }
    for node in root.children().filter(|node| node.has_tag_name("genid")) {
        edits.replace(node.range(), "<genid/>".to_owned());
    }
    let Some(fresh) = fresh else { return };
    for node in root.children().filter(|node| node.has_tag_name("uuid")) {
        edits.replace(node.range(), format!("<uuid>{}</uuid>", fresh.uuid));
    }
    for node in root.descendants() {
        // libvirt wants the UUID that firmware tells to be the domain's.
        if node.has_tag_name("entry") && node.attribute("name") == Some("uuid") {
            edits.replace(node.range(), format!("<entry name='uuid'>{}</entry>", fresh.uuid));
        }
        let of_interface = node.parent().is_some_and(|parent| parent.has_tag_name("interface"));
        if of_interface && node.has_tag_name("mac") {
            edits.replace(node.range(), format!("<mac address='{}'/>", (fresh.mac)()));
        }
    }
}

/// What belonged to the domain while it ran, or to its place: ids, names that libvirt gave, labels.
fn drop_transient(edits: &mut Edits, root: Node<'_, '_>, warnings: &mut Vec<String>) {
    if let Some(id) = root.attribute_node("id") {
        edits.remove(id.range());
    }
    let of_libvirt = |node: &Node<'_, '_>| match node.tag_name().name() {
        "alias" => !node.attribute("name").is_some_and(|name| name.starts_with("ua-")),
        "backingStore" | "mirror" => true,
        _ => false,
    };
    for node in root.descendants().filter(of_libvirt) {
        edits.remove(node.range());
    }
    for node in root.children().filter(|node| node.has_tag_name("seclabel")) {
        if node.attribute("type") == Some("static") {
            edits.remove(node.range());
            warnings.push("the security label that was set for the old domain is not set for the new one".to_owned());
        }
    }
}

fn target<'a>(disk: Node<'a, '_>) -> Option<&'a str> {
    child(disk, "target")?.attribute("dev")
}

/// Leads a disk to its restored file, or takes it out: two domains that write to one disk destroy it.
fn disk(edits: &mut Edits, node: Node<'_, '_>, restored: &[RestoredDisk], warnings: &mut Vec<String>) {
    let Some(name) = target(node) else { return };
    let Some(disk) = restored.iter().find(|disk| disk.name.as_str() == name) else {
        let is_disk = node.attribute("device").is_none_or(|kind| kind == "disk" || kind == "lun");
        if is_disk && child(node, "readonly").is_none() {
            edits.remove(node.range());
            warnings.push(format!("disk {} is not in the point, and the new domain has none", name.escape_debug()));
        }
        return;
    };
    let wanted = [("type", Some("file")), ("device", Some("disk")), ("sgio", None), ("rawio", None)];
    for (attribute, value) in wanted {
        match (node.attribute_node(attribute), value) {
            (Some(found), Some(value)) => edits.replace(found.range_value(), value.to_owned()),
            (Some(found), None) => edits.remove(found.range()),
            (None, _) => {}
        }
    }
    let file = escaped(&disk.file.to_string_lossy());
    let mut added = String::new();
    match child(node, "driver").map(|driver| (driver, driver.attribute_node("type"))) {
        Some((_, Some(format))) => edits.replace(format.range_value(), disk.format.to_owned()),
        Some((driver, None)) => edits.replace(driver.range(), format!("<driver name='qemu' type='{}'/>", disk.format)),
        None => added = format!("<driver name='qemu' type='{}'/>", disk.format),
    }
    match child(node, "source") {
        Some(source) => edits.replace(source.range(), format!("<source file='{file}'/>{added}")),
        None => edits.insert(
            child(node, "target").map_or(node.range().end, |target| target.range().start),
            &format!("<source file='{file}'/>{added}"),
        ),
    }
    // Of the storage that it was on.
    for part in node.descendants() {
        let is_qcow2s = part.has_tag_name("metadata_cache") && disk.format != "qcow2";
        if is_qcow2s || ["auth", "encryption", "shareable"].iter().any(|name| part.has_tag_name(*name)) {
            edits.remove(part.range());
        }
    }
}

#[cfg(test)]
mod tests;
