use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use stillpoint_model::{Error, ErrorKind, Result};
use stillpoint_nbd::Address;
use stillpoint_qemu::Monitor;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

/// Where QEMU's own words go.
const LOG: &str = "qemu.log";
/// Until QEMU, started, listens at its monitor.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(10);

/// The socket of a monitor of this command's own.
pub struct Socket(PathBuf);

impl Socket {
    /// Refuses a path that is too long for a socket.
    pub fn new(path: PathBuf) -> Result<Self> {
        Address::unix(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What has QEMU listen there. A comma that is meant stands twice.
    fn words(&self) -> [String; 2] {
        let path = self.0.to_string_lossy().replace(',', ",,");
        ["-qmp".to_owned(), format!("unix:{path},server=on,wait=off")]
    }
}

/// The monitor of a machine, which is started by its script unless it is on; and whether it was.
pub async fn running(script: &Path, folder: &Path, socket: &Socket) -> Result<(Monitor, bool)> {
    if let Some(monitor) = Monitor::connect(socket.path()).await? {
        return Ok((monitor, false));
    }
    let path = folder.join(LOG);
    let log = OpenOptions::new().create(true).append(true).open(&path);
    let log = log.map_err(|error| Error::from(error).context(path.display()))?;
    let mut command = Command::new(script);
    command.args(socket.words()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // Ctrl-C is meant for this process alone.
    let mut child = command.process_group(0).spawn().map_err(|error| Error::from(error).context(script.display()))?;
    let end = Instant::now() + PATIENCE;
    loop {
        match Monitor::connect(socket.path()).await {
            Ok(Some(monitor)) => return Ok((monitor, true)),
            // It does not answer before it is ready.
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            Err(error) => return Err(error),
        }
        // With -daemonize, what was started ends well.
        if child.try_wait()?.is_some_and(|status| !status.success()) {
            let said = fs::read_to_string(&path).unwrap_or_default();
            let line = said.lines().last().unwrap_or("it does not say why").escape_debug().to_string();
            return Err(Error::conflict(format!(
                "QEMU does not start: {line} (see {}, change {})",
                path.display(),
                script.display()
            )));
        }
        if Instant::now() >= end {
            return Err(Error::unavailable(format!("QEMU does not listen at {}", socket.path().display())));
        }
        sleep(PAUSE).await;
    }
}
