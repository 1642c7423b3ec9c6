use std::collections::BTreeMap;

use serde::Deserialize;
use stillpoint_model::{DiskName, ItemName, PolicyName, geometry::DISKS_MAX, policy::check_tag};
use toml::{
    Spanned,
    de::{DeTable, Deserializer},
};

use crate::{
    FileError,
    place::{self, Fields, Named},
    read::{bounded, refused, unreadable},
};

/// Largest file of machines: room for tens of thousands.
pub const MACHINES_BYTES_MAX: usize = 16 << 20;

/// One machine of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineEntry {
    /// The line it begins in, counted from 1.
    pub line: usize,
    /// Its name.
    pub name: ItemName,
    /// What runs it.
    pub platform: String,
    /// Where its disks are, in the order of their names; none where the platform finds them by itself.
    pub disks: BTreeMap<DiskName, String>,
    /// How its platform reaches and treats it, in the platform's words.
    pub settings: BTreeMap<String, String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The policy it is put under by name.
    pub policy: Option<PolicyName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    machine: Vec<Spanned<Table>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: ItemName,
    #[serde(default = "image")]
    platform: String,
    #[serde(default)]
    disks: BTreeMap<DiskName, String>,
    #[serde(default)]
    settings: BTreeMap<String, String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    policy: Option<PolicyName>,
}

fn image() -> String {
    "image".to_owned()
}

/// The machines of a file, each under `[[machine]]`; no name comes twice.
///
/// # Errors
/// The first fault, with its line, the machine, its field and the reason.
pub fn machines_from_toml(text: &str) -> Result<Vec<MachineEntry>, FileError> {
    bounded(text, MACHINES_BYTES_MAX, "file of machines")?;
    let document = DeTable::parse(text).map_err(|error| unreadable(text, &error))?;
    let fields = Fields::of(document.get_ref());
    let named = Named::of::<ItemName>(document.get_ref(), "machine");
    let file = File::deserialize(Deserializer::from(document)).map_err(|error| {
        let error = refused(text, &fields, &error);
        FileError { field: named.shown(&error.field), ..error }
    })?;
    let mut lines = BTreeMap::new();
    let mut entries = Vec::with_capacity(file.machine.len());
    let ends: Vec<usize> = text.match_indices('\n').map(|(end, _)| end).collect();
    for (number, table) in file.machine.into_iter().enumerate() {
        let start = table.span().start;
        let line = ends.partition_point(|end| *end < start) + 1;
        let Table { name, platform, disks, settings, tags, policy } = table.into_inner();
        let entry = MachineEntry { line, name, platform, disks, settings, tags, policy };
        let fault = |(field, reason): (&str, String)| {
            let path = if field.is_empty() { format!("machine[{number}]") } else { format!("machine[{number}].{field}") };
            let line = fields.start(&path).map_or(line, |start| place::line(text, start));
            FileError { line, field: named.shown(&path), reason }
        };
        check(&entry).map_err(fault)?;
        if let Some(first) = lines.insert(entry.name.clone(), line) {
            return Err(fault(("name", format!("the machine is in line {first} already"))));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn check(entry: &MachineEntry) -> Result<(), (&'static str, String)> {
    let least = usize::from(entry.settings.is_empty());
    if !(least..=DISKS_MAX).contains(&entry.disks.len()) {
        return Err(("disks", format!("a machine has 1 to {DISKS_MAX} disks, not {}", entry.disks.len())));
    }
    if let Some((name, _)) = entry.disks.iter().find(|(_, path)| path.is_empty()) {
        return Err(("disks", format!("disk {name} has no path")));
    }
    for (key, value) in &entry.tags {
        check_tag(key, value).map_err(|reason| ("tags", format!("'{}': {reason}", key.escape_debug())))?;
    }
    Ok(())
}
