//! Images over a disk that is served.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::json;
use stillpoint_model::{DiskName, Error, ErrorKind, Result};
use tokio::process::Command;

const PROGRAM: &str = "qemu-img";

/// A qcow2 image that holds what a guest writes, over a read-only NBD export, or a file, that holds the rest.
///
/// The image itself names what is below it, so that any command line that opens it opens both; when all was copied into it, QEMU takes that
/// name out.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// The disk, and the name of its export.
    pub disk: DiskName,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// The image.
    pub image: PathBuf,
}

impl Overlay {
    /// Makes the image, empty, in place of one of this name. Should the server at `socket` be gone, reads wait for it as long as
    /// `patience` says and fail from then on until it is back.
    ///
    /// # Errors
    /// `missing` when QEMU's tools are not installed; `invalid` when they refuse.
    pub async fn create(&self, socket: &Path, patience: Duration) -> Result<()> {
        let server = json!({ "type": "unix", "path": socket });
        let export = json!({ "driver": "nbd", "server": server, "export": self.disk, "reconnect-delay": patience.as_secs() });
        self.create_on(format!("json:{}", json!({ "driver": "raw", "file": export })).as_ref()).await
    }

    /// The same, over a raw file that nobody writes to meanwhile, instead of an export.
    ///
    /// # Errors
    /// As [`Overlay::create`].
    pub async fn create_over(&self, file: &Path) -> Result<()> {
        self.create_on(file.as_os_str()).await
    }

    async fn create_on(&self, below: &OsStr) -> Result<()> {
        let mut command = Command::new(PROGRAM);
        command.args(["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b"]).arg(below).arg(&self.image);
        command.arg(self.size_bytes.to_string()).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::missing(format!("{PROGRAM} is not installed (package qemu-utils)")),
            _ => Error::from(error).context(PROGRAM),
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().last().unwrap_or("no reason").escape_debug().to_string();
        Err(Error::new(ErrorKind::Invalid, format!("{} cannot be made: {line}", self.image.display())))
    }
}
