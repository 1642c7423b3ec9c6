use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::qmp::Monitor;

/// What there is in a QEMU process beyond what it began with: traces of a backup. Empty when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Ids of jobs.
    pub jobs: BTreeSet<String>,
    /// Ids of exports.
    pub exports: BTreeSet<String>,
    /// Names of nodes.
    pub nodes: BTreeSet<String>,
    /// Named bitmaps, as `NODE/NAME`.
    pub bitmaps: BTreeSet<String>,
    /// Devices that read from another node than before, and which.
    pub attached: BTreeMap<String, String>,
    /// Whether an NBD server runs.
    pub nbd_server: bool,
}

/// A named dirty bitmap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    /// Its name.
    pub name: String,
    /// Whether it records writes.
    pub recording: bool,
    /// Whether it is kept in the disk's file.
    pub persistent: bool,
    /// Whether it missed writes and cannot be used.
    pub inconsistent: bool,
    /// Bytes it marks as written.
    pub dirty_bytes: u64,
}

impl Leftovers {
    /// All that there is.
    pub(crate) fn all(monitor: &mut Monitor) -> Self {
        let nodes = nodes(monitor);
        let bitmap_names = |node: &Value| {
            let name = text(node, "node-name");
            bitmaps_of(node).into_iter().map(move |bitmap| format!("{name}/{}", bitmap.name)).collect::<Vec<_>>()
        };
        Self {
            jobs: ids(&monitor.execute("query-jobs", json!({})), "id"),
            exports: ids(&monitor.execute("query-block-exports", json!({})), "id"),
            nodes: nodes.iter().map(|node| text(node, "node-name")).collect(),
            bitmaps: nodes.iter().flat_map(bitmap_names).collect(),
            attached: attached(monitor),
            nbd_server: nbd_server(monitor),
        }
    }

    /// What of this was not there `before`.
    pub(crate) fn beyond(self, before: &Self) -> Self {
        let fresh = |now: BTreeSet<String>, then: &BTreeSet<String>| now.difference(then).cloned().collect();
        Self {
            jobs: fresh(self.jobs, &before.jobs),
            exports: fresh(self.exports, &before.exports),
            nodes: fresh(self.nodes, &before.nodes),
            bitmaps: fresh(self.bitmaps, &before.bitmaps),
            attached: self.attached.into_iter().filter(|(device, node)| before.attached.get(device) != Some(node)).collect(),
            nbd_server: self.nbd_server && !before.nbd_server,
        }
    }

    /// The same without bitmaps: those of the last recovery point stay.
    #[must_use]
    pub fn but_bitmaps(self) -> Self {
        Self { bitmaps: BTreeSet::new(), ..self }
    }
}

/// The named bitmaps of one node.
pub(crate) fn bitmaps(monitor: &mut Monitor, node: &str) -> Vec<Bitmap> {
    let nodes = nodes(monitor);
    let found = nodes.iter().find(|candidate| candidate["node-name"] == node);
    bitmaps_of(found.unwrap_or_else(|| panic!("no node {node}")))
}

fn nodes(monitor: &mut Monitor) -> Vec<Value> {
    monitor.execute("query-named-block-nodes", json!({"flat": true})).as_array().expect("nodes are a list").clone()
}

fn bitmaps_of(node: &Value) -> Vec<Bitmap> {
    let all = node["dirty-bitmaps"].as_array().into_iter().flatten();
    let flag = |bitmap: &Value, name: &str| bitmap[name].as_bool().unwrap_or(false);
    // Filters have bitmaps of their own, without names.
    let named = all.filter_map(|bitmap| Some((bitmap["name"].as_str()?, bitmap)));
    let one = |(name, bitmap): (&str, &Value)| Bitmap {
        name: name.to_owned(),
        recording: flag(bitmap, "recording"),
        persistent: flag(bitmap, "persistent"),
        inconsistent: flag(bitmap, "inconsistent"),
        dirty_bytes: bitmap["count"].as_u64().expect("a bitmap counts bytes"),
    };
    named.map(one).collect()
}

/// Devices and the nodes they read from; a storage daemon has no devices and does not know the question.
fn attached(monitor: &mut Monitor) -> BTreeMap<String, String> {
    let devices = monitor.try_execute("query-block", json!({})).unwrap_or_default();
    let devices = devices.as_array().into_iter().flatten();
    devices.map(|device| (text(device, "qdev"), text(&device["inserted"], "node-name"))).collect()
}

/// Nothing asks for the server: one that runs is told of before the impossible address is.
fn nbd_server(monitor: &mut Monitor) -> bool {
    let address = json!({"addr": {"type": "unix", "data": {"path": "/nowhere/nbd"}}});
    let refusal = monitor.try_execute("nbd-server-start", address).expect_err("there is no folder /nowhere");
    refusal.contains("already running")
}

fn ids(list: &Value, field: &str) -> BTreeSet<String> {
    list.as_array().expect("a query answers with a list").iter().map(|entry| text(entry, field)).collect()
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}
