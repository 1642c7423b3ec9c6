//! Putting the filters in, cutting all disks at one instant, and showing what is behind the cut.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};
use stillpoint_model::{Error, JobId, Result};
use stillpoint_nbd::Address;
use stillpoint_ports::{Baseline, DiskSnapshot, Since, TrackingReset};

use crate::{
    bitmaps, extents,
    handle::Handle,
    machine::MachineDisk,
    names::{self, Bitmap, Node, Part},
    qmp::Qmp,
    scratch, teardown,
};

/// How long a guest's write may wait for the scratch file before the snapshot is given up instead.
const SCRATCH_SECONDS: u32 = 10;
/// Bytes that one bit of a bitmap stands for: a chunk.
const GRANULARITY: u32 = 65536;

/// A snapshot in the making: one monitor, one job, all disks.
pub(crate) struct Cut<'a> {
    pub(crate) qmp: &'a mut Qmp,
    pub(crate) job: JobId,
    pub(crate) disks: &'a [MachineDisk],
    /// Scratch files, a disk each.
    pub(crate) scratch: Vec<PathBuf>,
    /// The socket to read through.
    pub(crate) nbd: PathBuf,
    /// Whether changes are recorded from the cut on.
    pub(crate) begins_bitmaps: bool,
}

impl Cut<'_> {
    fn node(&self, part: Part, position: usize) -> String {
        Node { part, position, job: self.job }.to_string()
    }

    fn held(&self, position: usize) -> String {
        Bitmap::Held { job: self.job, position }.to_string()
    }

    async fn add(&mut self, options: Value) -> Result<()> {
        self.qmp.execute("blockdev-add", options).await.map(drop)
    }

    /// Makes everything ready that takes time. Nothing is copied yet; the guest sees nothing.
    ///
    /// # Errors
    /// As QEMU and the scratch place; `conflict` when another NBD server runs in it.
    pub(crate) async fn prepare(&mut self) -> Result<()> {
        let owner = self.qmp.peer();
        for (position, disk) in self.disks.iter().enumerate() {
            let context = |error: Error| error.context(format!("disk {}", disk.name));
            scratch::make(&self.scratch[position], disk.size_bytes, owner)?;
            self.mark(position, disk).await.map_err(context)?;
            self.put_filter_in(position, disk).await.map_err(context)?;
        }
        self.serve().await
    }

    /// Has QEMU listen for readers, which it can do once only. Comes after the marks: whoever finds them ends it.
    async fn serve(&mut self) -> Result<()> {
        let nbd = self.nbd.to_str().ok_or_else(|| Error::invalid("the monitor's path is not UTF-8"))?.to_owned();
        scratch::remove(&self.nbd)?;
        let server = json!({ "addr": { "type": "unix", "data": { "path": nbd } } });
        let started = self.qmp.execute("nbd-server-start", server).await;
        started.map(drop).map_err(|error| match error.to_string().contains("already running") {
            true => error.context("QEMU serves NBD for somebody else"),
            false => error,
        })
    }

    /// Comes first, so that whoever takes a filter away knows the disk below.
    async fn mark(&mut self, position: usize, disk: &MachineDisk) -> Result<()> {
        let name = self.held(position);
        let mark = json!({ "node": disk.node, "name": name, "granularity": GRANULARITY, "persistent": false, "disabled": true });
        self.qmp.execute("block-dirty-bitmap-add", mark).await.map(drop)
    }

    async fn put_filter_in(&mut self, position: usize, disk: &MachineDisk) -> Result<()> {
        let (top, filter, store) =
            (self.node(Part::Top, position), self.node(Part::Filter, position), self.node(Part::Scratch, position));
        let file = self.scratch[position].to_str().ok_or_else(|| Error::invalid("the scratch folder's path is not UTF-8"))?;
        let file = json!({ "driver": "file", "filename": file });
        self.add(json!({ "driver": "raw", "node-name": store, "file": file })).await?;
        self.add(json!({
            "driver": "copy-before-write", "node-name": filter, "file": disk.node, "target": store,
            "on-cbw-error": "break-snapshot", "cbw-timeout": SCRATCH_SECONDS, "discard": "unmap",
        }))
        .await?;
        if let Some(device) = &disk.device {
            self.add(json!({ "driver": "raw", "node-name": top, "file": disk.node, "discard": "unmap" })).await?;
            teardown::drive(self.qmp, device, &top).await?;
        }
        Ok(())
    }

    /// The instant: from here on all changes of all disks are recorded, and what they overwrite is kept. `instant` names the bitmaps.
    ///
    /// # Errors
    /// As QEMU.
    pub(crate) async fn cut(&mut self, instant: Timestamp) -> Result<()> {
        // Recording may begin a moment early: a bit too many costs a read.
        let begin = |disk: &MachineDisk| {
            let (name, persistent) = (self.since(disk, instant), disk.keeps_bitmaps());
            let data = json!({ "node": disk.node, "name": name, "granularity": GRANULARITY, "persistent": persistent });
            json!({ "type": "block-dirty-bitmap-add", "data": data })
        };
        if self.begins_bitmaps {
            let actions: Vec<Value> = self.disks.iter().map(begin).collect();
            self.qmp.execute("transaction", json!({ "actions": actions })).await?;
        }
        // One command: QEMU holds all disks' requests back, changes all, and lets them go on. The guest's processors run meanwhile.
        let over = |(position, disk): (usize, &MachineDisk)| {
            disk.device.as_ref()?;
            let (top, filter) = (self.node(Part::Top, position), self.node(Part::Filter, position));
            Some(json!({ "driver": "raw", "node-name": top, "file": filter, "discard": "unmap" }))
        };
        let options: Vec<Value> = self.disks.iter().enumerate().filter_map(over).collect();
        if options.is_empty() {
            return Ok(());
        }
        self.qmp.execute("blockdev-reopen", json!({ "options": options })).await.map(drop)
    }

    fn since(&self, disk: &MachineDisk, instant: Timestamp) -> String {
        Bitmap::Since { job: self.job, instant, size_bytes: disk.size_bytes, disk: disk.name.clone() }.to_string()
    }

    /// Exports what is behind the cut, with what changed since `since` where that is known, and maps it.
    ///
    /// # Errors
    /// As QEMU.
    pub(crate) async fn show(
        &mut self,
        instant: Timestamp,
        since: Option<Since>,
        qmp: &Path,
        daemon: bool,
    ) -> Result<(Vec<DiskSnapshot>, Vec<TrackingReset>)> {
        let address = Address::unix(&self.nbd)?;
        let (mut disks, mut resets) = (Vec::new(), Vec::new());
        for position in 0..self.disks.len() {
            let disk = &self.disks[position];
            let context = |error: Error| error.context(format!("disk {}", disk.name));
            let parent = since.map(|since| bitmaps::since(disk, since)).transpose();
            let parent = parent.unwrap_or_else(|reason| {
                resets.push(TrackingReset { disk: disk.name.clone(), reason });
                None
            });
            let export = names::export_name(&disk.name, instant);
            self.export(position, &export, parent.as_ref()).await.map_err(context)?;
            let bitmap = parent.is_some().then(|| self.held(position));
            let handle = Handle {
                nbd: self.nbd.clone(),
                export: export.clone(),
                qmp: qmp.to_owned(),
                daemon,
                scratch: self.scratch[position].clone(),
            };
            disks.push(DiskSnapshot {
                name: disk.name.clone(),
                size_bytes: disk.size_bytes,
                extents: extents::of(&address, &export, disk.size_bytes, bitmap.as_deref()).await.map_err(context)?,
                baseline: if parent.is_some() { Baseline::Parent } else { Baseline::Zero },
                handle: handle.encode()?,
            });
        }
        Ok((disks, resets))
    }

    async fn export(&mut self, position: usize, name: &str, parent: Option<&Bitmap>) -> Result<()> {
        let disk = &self.disks[position];
        let (past, filter, held) = (self.node(Part::Past, position), self.node(Part::Filter, position), self.held(position));
        // What a reader discards need not be kept for it. A snapshot takes no other change, writable or not.
        self.add(json!({ "driver": "snapshot-access", "node-name": past, "file": filter, "discard": "unmap" })).await?;
        let mut shown = Vec::new();
        if let Some(parent) = parent {
            // The parent's goes on recording until the next point is safe: nothing has to be put back should this one fail.
            let merge = json!({ "node": disk.node, "target": held, "bitmaps": [parent.to_string()] });
            self.qmp.execute("block-dirty-bitmap-merge", merge).await?;
            shown.push(json!({ "node": disk.node, "name": held }));
        }
        let id = names::export(self.job, position);
        let export = json!({ "type": "nbd", "id": id, "node-name": past, "name": name, "writable": true, "bitmaps": shown });
        self.qmp.execute("block-export-add", export).await.map(drop)
    }
}
