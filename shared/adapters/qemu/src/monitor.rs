//! A machine that others have started, and the filling of its disks.

use std::path::Path;

use serde::Deserialize;
use serde_json::json;
use stillpoint_model::{DiskName, Error, Result};

use crate::{machine::NodeInfo, qmp::Qmp};

/// The monitor of a machine that runs on overlays. This process alone uses it.
pub struct Monitor {
    qmp: Qmp,
    /// The disk that is being filled because this process said so.
    begun: Option<DiskName>,
}

/// How far an overlay holds all that is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filling {
    /// It does, and nothing is below it any more.
    Whole,
    /// It is filled just now.
    Begun {
        /// Bytes looked at.
        done: u64,
    },
    /// It was, and that failed.
    Failed {
        /// QEMU's words.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Status {
    status: String,
}

/// Of `query-jobs`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct JobInfo {
    id: String,
    status: String,
    current_progress: u64,
}

impl Monitor {
    /// Connects; `None` where nothing listens.
    ///
    /// # Errors
    /// `denied`; `unavailable` when another client is connected.
    pub async fn connect(path: &Path) -> Result<Option<Self>> {
        Ok(Qmp::connect_if_on(path).await?.map(|qmp| Self { qmp, begun: None }))
    }

    /// What the machine does, in QEMU's words: `running`, `paused`, `io-error`, …
    ///
    /// # Errors
    /// `unavailable` when QEMU has ended.
    pub async fn status(&mut self) -> Result<String> {
        Ok(self.qmp.query::<Status>("query-status", json!({})).await?.status)
    }

    /// Stops the machine's processors, after what its disks have under way.
    ///
    /// # Errors
    /// As [`Monitor::status`].
    pub async fn pause(&mut self) -> Result<()> {
        self.qmp.execute("stop", json!({})).await.map(drop)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// As [`Monitor::status`].
    pub async fn go_on(&mut self) -> Result<()> {
        self.qmp.execute("cont", json!({})).await.map(drop)
    }

    /// Has the overlay of a disk filled, with at most so many bytes a second (0: as fast as it goes), or says how far that is. To be asked
    /// again until it is [`Filling::Whole`]; after [`Filling::Failed`] that begins it anew, where it ended.
    ///
    /// # Errors
    /// `missing` when the machine has no such disk; as [`Monitor::status`].
    pub async fn fill(&mut self, disk: &DiskName, image: &Path, bytes_per_second: u64) -> Result<Filling> {
        let id = fill_job(disk);
        let nodes: Vec<NodeInfo> = self.qmp.query("query-named-block-nodes", json!({ "flat": true })).await?;
        let node = nodes.iter().find(|node| node.drv == "qcow2" && Path::new(&node.file) == image);
        let missing = || Error::missing(format!("the machine does not have {}", image.display()));
        let name = node.and_then(|node| node.node_name.as_deref()).ok_or_else(missing)?;
        let jobs: Vec<JobInfo> = self.qmp.query("query-jobs", json!({})).await?;
        if let Some(job) = jobs.into_iter().find(|job| job.id == id) {
            if job.status == "pending" {
                // What was copied must outlive QEMU before the image forgets what is below it.
                self.flush(name).await?;
                self.qmp.execute("job-finalize", json!({ "id": id })).await?;
            }
            return Ok(Filling::Begun { done: job.current_progress });
        }
        let begun = self.begun.take();
        if node.is_some_and(|node| node.backing.is_none()) {
            self.flush(name).await?;
            return Ok(Filling::Whole);
        }
        if begun.as_ref() == Some(disk) {
            let reason = self.qmp.take_job_error().unwrap_or_else(|| "QEMU does not say why".to_owned());
            return Ok(Filling::Failed { reason });
        }
        // A job that has ended must not stay on QEMU's list: its filter, which has nothing below it then, crashes QEMU 10.0 when somebody asks
        // for all nodes.
        let begin = json!({ "job-id": id, "device": name, "speed": bytes_per_second, "auto-finalize": false });
        self.qmp.execute("block-stream", begin).await?;
        self.begun = Some(disk.clone());
        Ok(Filling::Begun { done: 0 })
    }

    /// Has a node's data and tables written. QMP itself has no command for it.
    async fn flush(&mut self, node: &str) -> Result<()> {
        let line = format!("qemu-io {node} flush");
        let said: String = self.qmp.query("human-monitor-command", json!({ "command-line": line })).await?;
        if said.trim().is_empty() { Ok(()) } else { Err(Error::internal(format!("QEMU did not flush: {}", said.escape_debug()))) }
    }

    /// Has it not filled any more; what it holds it keeps.
    ///
    /// # Errors
    /// As [`Monitor::status`].
    pub async fn stop_filling(&mut self, disk: &DiskName) -> Result<()> {
        let id = fill_job(disk);
        let jobs: Vec<JobInfo> = self.qmp.query("query-jobs", json!({})).await?;
        if jobs.iter().any(|job| job.id == id) {
            self.qmp.execute("job-cancel", json!({ "id": id })).await?;
        }
        Ok(())
    }
}

fn fill_job(disk: &DiskName) -> String {
    format!("stillpoint-fill-{disk}")
}
