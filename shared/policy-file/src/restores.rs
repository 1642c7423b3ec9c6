use std::collections::BTreeMap;

use serde::Deserialize;
use stillpoint_model::{ItemName, policy::ByteCount};
use toml::{
    Spanned,
    de::{DeTable, Deserializer},
};

use crate::{
    FileError, MACHINES_BYTES_MAX,
    place::{self, Fields, Named},
    read::{bounded, refused, unreadable},
};

/// Most machines that are restored to one target at once.
const AT_ONCE_MAX: u32 = 64;
/// Longest name of a target.
const NAME_BYTES_MAX: usize = 64;

/// A place that restored machines are spread over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagingTarget {
    /// Its name.
    pub name: String,
    /// A folder, or the URL of one in a store; each machine gets a folder of its name in it.
    pub to: String,
    /// Machines that are restored to it at once.
    pub at_once: u32,
    /// Most bytes written to it in a second.
    pub bytes_per_second: Option<ByteCount>,
    /// Most requests made to it in a second; of a store.
    pub requests_per_second: Option<u32>,
    /// Writes to it under way at once.
    pub streams: Option<u32>,
}

/// A machine to be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreEntry {
    /// Its name.
    pub name: ItemName,
    /// Which point, as `restore` takes it.
    pub point: String,
    /// The one target that it may go to; any where none is named.
    pub target: Option<String>,
}

/// Machines, and the targets that they are spread over; one of each at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreList {
    /// The targets.
    pub targets: Vec<StagingTarget>,
    /// The machines, in the order in which they begin.
    pub machines: Vec<RestoreEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    target: Vec<Spanned<TargetTable>>,
    machine: Vec<Spanned<MachineTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetTable {
    name: String,
    to: String,
    at_once: Option<u32>,
    bytes_per_second: Option<ByteCount>,
    requests_per_second: Option<u32>,
    streams: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineTable {
    name: ItemName,
    #[serde(default = "latest")]
    point: String,
    target: Option<String>,
}

fn latest() -> String {
    "latest".to_owned()
}

type Fault = (&'static str, String);

/// The machines of a file, each under `[[machine]]`, and the targets, each under `[[target]]`; no name comes twice in either.
///
/// # Errors
/// The first fault, with its line, the machine or target, its field and the reason.
pub fn restores_from_toml(text: &str) -> Result<RestoreList, FileError> {
    bounded(text, MACHINES_BYTES_MAX, "list of restores")?;
    let document = DeTable::parse(text).map_err(|error| unreadable(text, &error))?;
    let fields = Fields::of(document.get_ref());
    let named = [Named::of::<String>(document.get_ref(), "target"), Named::of::<ItemName>(document.get_ref(), "machine")];
    let shown = |path: &str| named[usize::from(path.starts_with("machine"))].shown(path);
    let file = File::deserialize(Deserializer::from(document)).map_err(|error| {
        let error = refused(text, &fields, &error);
        FileError { field: shown(&error.field), ..error }
    })?;
    let fault = |path: String, line: usize, reason: String| {
        let line = fields.start(&path).map_or(line, |start| place::line(text, start));
        FileError { line, field: shown(&path), reason }
    };
    let (mut targets, mut machines) = (BTreeMap::new(), BTreeMap::new());
    let mut list = RestoreList { targets: Vec::new(), machines: Vec::new() };
    for (number, table) in file.target.into_iter().enumerate() {
        let line = place::line(text, table.span().start);
        let target = target(table.into_inner(), &targets);
        let target = target.map_err(|(field, reason)| fault(format!("target[{number}].{field}"), line, reason))?;
        targets.insert(target.name.clone(), line);
        list.targets.push(target);
    }
    for (number, table) in file.machine.into_iter().enumerate() {
        let line = place::line(text, table.span().start);
        let machine = machine(table.into_inner(), &targets, &machines);
        let machine = machine.map_err(|(field, reason)| fault(format!("machine[{number}].{field}"), line, reason))?;
        machines.insert(machine.name.clone(), line);
        list.machines.push(machine);
    }
    match (list.targets.is_empty(), list.machines.is_empty()) {
        (true, _) => Err(fault("target".to_owned(), 1, "name a target, under [[target]]".to_owned())),
        (_, true) => Err(fault("machine".to_owned(), 1, "name a machine, under [[machine]]".to_owned())),
        _ => Ok(list),
    }
}

fn target(table: TargetTable, before: &BTreeMap<String, usize>) -> Result<StagingTarget, Fault> {
    let TargetTable { name, to, at_once, bytes_per_second, requests_per_second, streams } = table;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(is_name) {
        return Err(("name", format!("a name has 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' and '.'")));
    }
    if let Some(line) = before.get(&name) {
        return Err(("name", format!("the target is in line {line} already")));
    }
    if to.is_empty() {
        return Err(("to", "it is empty".to_owned()));
    }
    let at_once = at_once.unwrap_or(1);
    if !(1..=AT_ONCE_MAX).contains(&at_once) {
        return Err(("at_once", format!("1 to {AT_ONCE_MAX} machines, not {at_once}")));
    }
    let none = |field, is_none: bool| if is_none { Err((field, "a limit of 0 lets nothing through".to_owned())) } else { Ok(()) };
    none("bytes_per_second", bytes_per_second == Some(ByteCount(0)))?;
    none("requests_per_second", requests_per_second == Some(0))?;
    none("streams", streams == Some(0))?;
    if requests_per_second.is_some() && !to.contains("://") {
        return Err(("requests_per_second", "only stores have requests; a folder has bytes_per_second and streams".to_owned()));
    }
    Ok(StagingTarget { name, to, at_once, bytes_per_second, requests_per_second, streams })
}

fn machine(
    table: MachineTable,
    targets: &BTreeMap<String, usize>,
    before: &BTreeMap<ItemName, usize>,
) -> Result<RestoreEntry, Fault> {
    let MachineTable { name, point, target } = table;
    if let Some(line) = before.get(&name) {
        return Err(("name", format!("the machine is in line {line} already")));
    }
    match target {
        Some(target) if !targets.contains_key(&target) => {
            Err(("target", format!("there is no target '{}'", target.escape_debug())))
        }
        target => Ok(RestoreEntry { name, point, target }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_and_targets_are_read() {
        let list = restores_from_toml(
            r#"
            [[target]]
            name = "nas-1"
            to = "/mnt/nas-1"
            bytes_per_second = "100MiB"
            streams = 2
            [[target]]
            name = "account-2"
            to = "az://staging/?account=two"
            at_once = 3
            requests_per_second = 50
            [[machine]]
            name = "web-01"
            [[machine]]
            name = "db-01"
            point = "2026-07-01T12:00:00Z"
            target = "nas-1"
            "#,
        )
        .unwrap();
        assert_eq!(list.targets[0].bytes_per_second, Some(ByteCount(100 << 20)));
        assert_eq!((list.targets[0].at_once, list.targets[1].at_once), (1, 3));
        assert_eq!((list.machines[0].point.as_str(), list.machines[1].target.as_deref()), ("latest", Some("nas-1")));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let target = "[[target]]\nname = \"a\"\nto = \"/a\"\n";
        let machine = "[[machine]]\nname = \"web-01\"\n";
        for (text, expected) in [
            (format!("{target}{target}{machine}"), "line 5: target a: name: the target is in line 1 already"),
            (format!("{target}{machine}{machine}"), "line 7: machine web-01: name: the machine is in line 4 already"),
            (format!("{target}{machine}target = \"b\"\n"), "line 6: machine web-01: target: there is no target 'b'"),
            (format!("{target}streams = 0\n{machine}"), "line 4: target a: streams: a limit of 0 lets nothing through"),
            (format!("{target}requests_per_second = 5\n{machine}"), "only stores have requests"),
            (format!("{target}at_once = 0\n{machine}"), "line 4: target a: at_once: 1 to 64 machines, not 0"),
            (format!("target = []\n{machine}"), "line 1: target: name a target"),
            (format!("{target}[[machine]]\nname = \"web-01\"\npiont = \"x\"\n"), "piont"),
            (target.to_owned(), "missing field `machine`"),
        ] {
            let error = restores_from_toml(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}\n{text}");
        }
    }
}
