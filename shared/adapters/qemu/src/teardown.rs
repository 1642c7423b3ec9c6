//! Taking away what a snapshot has put into QEMU, whoever has put it there and however far it came.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use serde_json::json;
use stillpoint_model::{Error, JobId, Result};
use stillpoint_ports::Ending;
use tokio::{
    net::UnixStream,
    time::{Instant, sleep},
};

use crate::{
    bitmaps,
    machine::{NodeInfo, View},
    names::{self, Bitmap, Node, Part},
    qmp::Qmp,
    scratch,
};

/// Until clients of an export are gone after it was removed.
const EXPORT_GOES: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// An export, of `query-block-exports`.
#[derive(Deserialize)]
struct Export {
    id: String,
}

/// Jobs that have left something in QEMU that stands in the way of another snapshot.
///
/// # Errors
/// As QEMU.
pub(crate) async fn holders(qmp: &mut Qmp) -> Result<Vec<JobId>> {
    let view = View::read(qmp).await?;
    let nodes = view.nodes.iter().filter_map(|info| Some(info.node_name.as_deref()?.parse::<Node>().ok()?.job));
    let marks = view.nodes.iter().flat_map(|info| &info.dirty_bitmaps).filter_map(|bitmap| match bitmap.ours()? {
        Bitmap::Held { job, .. } => Some(job),
        Bitmap::Since { .. } => None,
    });
    Ok(nodes.chain(marks).collect::<BTreeSet<_>>().into_iter().collect())
}

/// Removes everything of a job's snapshot from QEMU, and the bitmaps that are of no use after it. Goes on after a refusal and returns the
/// first.
///
/// # Errors
/// `unavailable` when something is still there.
pub(crate) async fn teardown(qmp: &mut Qmp, job: JobId, nbd: &Path, ending: Ending) -> Result<()> {
    let mut troubles = Troubles::default();
    troubles.note(remove_exports(qmp, job, nbd).await);
    let view = View::read(qmp).await?;
    let nodes: Vec<Node> = view.nodes.iter().filter_map(|info| info.node_name.as_deref()?.parse().ok()).collect();
    let positions: BTreeSet<usize> = nodes.iter().filter(|node| node.job == job).map(|node| node.position).collect();
    for position in positions {
        let there = |part| nodes.contains(&Node { part, position, job });
        troubles.note(remove_filter(qmp, &view, &there, position, job).await);
    }
    // What marks the disk under a filter stays for as long as the filter does.
    if troubles.0.is_none() {
        let is_over = |name: &str| name.parse().is_ok_and(|bitmap| bitmaps::is_over(&bitmap, job, ending));
        troubles.note(remove_bitmaps(qmp, is_over).await.map(drop));
    }
    troubles
        .0
        .map_or(Ok(()), |error| Err(Error::unavailable("not everything of a snapshot could be taken away").with_source(error)))
}

#[derive(Default)]
struct Troubles(Option<Error>);

impl Troubles {
    fn note(&mut self, result: Result<()>) {
        if let Err(error) = result {
            tracing::warn!(error = %error.one_line(), "a part of a snapshot could not be taken away");
            self.0.get_or_insert(error);
        }
    }
}

async fn exports(qmp: &mut Qmp) -> Result<Vec<Export>> {
    qmp.query("query-block-exports", json!({})).await
}

/// Ends the exports of a job, whoever is connected, and the server if it was this job's.
async fn remove_exports(qmp: &mut Qmp, job: JobId, nbd: &Path) -> Result<()> {
    let is_own = |export: &Export| names::job_of_export(&export.id) == Some(job);
    for export in exports(qmp).await?.into_iter().filter(is_own) {
        qmp.execute("block-export-del", json!({ "id": export.id, "mode": "hard" })).await?;
    }
    let end = Instant::now() + EXPORT_GOES;
    while exports(qmp).await?.iter().any(is_own) {
        if Instant::now() >= end {
            return Err(Error::unavailable("an export does not go away"));
        }
        sleep(PAUSE).await;
    }
    // The server is one for the whole process: another's has another socket.
    if UnixStream::connect(nbd).await.is_ok() {
        qmp.execute("nbd-server-stop", json!({})).await?;
    }
    scratch::remove(nbd)
}

/// Gives a device its disk back and removes what was between.
async fn remove_filter(qmp: &mut Qmp, view: &View, there: &impl Fn(Part) -> bool, position: usize, job: JobId) -> Result<()> {
    let name = |part| Node { part, position, job }.to_string();
    if there(Part::Past) {
        delete(qmp, &name(Part::Past)).await?;
    }
    let over_top = view.device_over(&name(Part::Top)).map(str::to_owned);
    let over_filter = view.device_over(&name(Part::Filter)).map(str::to_owned);
    if let Some(device) = over_top.as_deref().or(over_filter.as_deref()) {
        let base = view.base(&Node { part: Part::Top, position, job }).and_then(|info| info.node_name.clone());
        let base = base.ok_or_else(|| Error::internal(format!("the disk under {} is not marked any more", name(Part::Top))))?;
        // Where the filter is in place already, it has to be the last one over the disk before the device takes that itself.
        if over_top.is_some() && drive(qmp, device, &base).await.is_err() {
            drive(qmp, device, &name(Part::Filter)).await?;
            delete(qmp, &name(Part::Top)).await?;
            drive(qmp, device, &base).await?;
        } else if over_filter.is_some() {
            if there(Part::Top) {
                delete(qmp, &name(Part::Top)).await?;
            }
            drive(qmp, device, &base).await?;
        }
    }
    let still: Vec<NodeInfo> = View::read(qmp).await?.nodes;
    for part in [Part::Top, Part::Filter, Part::Scratch] {
        if still.iter().any(|info| info.node_name.as_deref() == Some(&*name(part))) {
            delete(qmp, &name(part)).await?;
        }
    }
    Ok(())
}

/// Lets a device use a node as its disk.
pub(crate) async fn drive(qmp: &mut Qmp, device: &str, node: &str) -> Result<()> {
    qmp.execute("qom-set", json!({ "path": device, "property": "drive", "value": node })).await.map(drop)
}

async fn delete(qmp: &mut Qmp, node: &str) -> Result<()> {
    qmp.execute("blockdev-del", json!({ "node-name": node })).await.map(drop)
}

/// Removes bitmaps by their names; returns how many nodes had any.
///
/// # Errors
/// As QEMU.
pub(crate) async fn remove_bitmaps(qmp: &mut Qmp, go: impl Fn(&str) -> bool) -> Result<usize> {
    let view = View::read(qmp).await?;
    let mut nodes = 0;
    // Those in a backing file cannot be removed. They tell nothing wrong: whatever is written there is recorded again.
    for info in view.nodes.iter().filter(|info| !info.ro) {
        let Some(node) = &info.node_name else { continue };
        let over: Vec<&str> =
            info.dirty_bitmaps.iter().filter_map(|bitmap| bitmap.name.as_deref()).filter(|name| go(name)).collect();
        for name in &over {
            qmp.execute("block-dirty-bitmap-remove", json!({ "node": node, "name": name })).await?;
        }
        nodes += usize::from(!over.is_empty());
    }
    Ok(nodes)
}

/// The socket that a job's disks are read through: beside the monitor's.
pub(crate) fn nbd_path(qmp: &Path, job: JobId) -> PathBuf {
    qmp.parent().unwrap_or(Path::new("/")).join(names::nbd_socket(job))
}
