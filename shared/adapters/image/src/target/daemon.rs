//! The storage daemon that an unfinished qcow2 image is written through: one for each image, for as long as the restore lasts.
//!
//! The first step that writes starts it, every later one, of whatever process, finds it by its socket, and who finds nobody there starts
//! it again. QEMU's image lock lets only one daemon have the image. What a flush has confirmed is in the image: a daemon that is killed
//! loses the rest, of which no marker tells, and perhaps leaves clusters that belong to nothing, which are freed before it starts again.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::sockopt::socket_peercred,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde_json::json;
use stillpoint_model::{Error, ErrorKind as Kind, JobId, Result};
use stillpoint_nbd::{Address, Client, Options};
use stillpoint_ports::TargetDisk;
use tokio::time::sleep;

use super::{nbd::CONTEXT, qcow2::run};
use crate::{blocking::blocking, hidden, label::shown, lock};

const PROGRAM: &str = "qemu-storage-daemon";
/// How the kernel shows it: the first 15 bytes.
const COMMAND: &str = "qemu-storage-da";
/// Tries to reach or start a daemon: another process may be starting it at this moment.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(250);
/// How long a daemon that ends may take to write what it holds.
const ENDS_WITHIN: Duration = Duration::from_secs(120);

/// The daemon of one disk, running or not.
pub(crate) struct Daemon {
    socket: PathBuf,
    export: String,
}

impl Daemon {
    /// The daemon of the image that is to be `path`. Its socket lies beside the image and its name is short, as names of sockets must be.
    ///
    /// # Errors
    /// `invalid` when the folder's name is too long for a socket in it.
    pub(crate) fn of(job: JobId, disk: &TargetDisk, path: &Path) -> Result<Self> {
        let hash = blake3::hash(disk.name.as_str().as_bytes()).to_hex();
        let socket = path.with_file_name(format!(".sp-{job}-{}.nbd", &hash[..8]));
        if Address::unix(&socket).is_err() {
            let folder = shown(path.parent().unwrap_or(path));
            return Err(Error::invalid(format!(
                "folder {folder}: its name is too long to write a qcow2 image there through a socket; choose a shorter one"
            )));
        }
        Ok(Self { socket, export: disk.name.as_str().to_owned() })
    }

    /// Connects; starts the daemon where there is none.
    ///
    /// # Errors
    /// `missing` without the image or the program; `unavailable` when the daemon does not start, as while another host has the image.
    pub(crate) async fn connect(&self, image: &Path) -> Result<Client> {
        let address = Address::unix(&self.socket)?;
        let mut last = Error::unavailable(format!("{PROGRAM} does not answer"));
        for _ in 0..TRIES {
            match Client::connect(&address, &self.export, &[CONTEXT], &Options::default()).await {
                Err(error) if error.kind() == Kind::Unavailable => {}
                connected => return connected,
            }
            let (socket, image, export) = (self.socket.clone(), image.to_path_buf(), self.export.clone());
            match blocking(move || start(&socket, &image, &export)).await {
                Ok(()) => continue,
                Err(error) if error.kind() == Kind::Unavailable => last = error,
                Err(error) => return Err(error),
            }
            sleep(PAUSE).await;
        }
        Err(last)
    }

    /// Ends it, once all is written, and takes its socket away. Nobody there is success.
    ///
    /// # Errors
    /// `unavailable` when it does not end; `conflict` when something else listens there.
    pub(crate) fn end(&self) -> Result<()> {
        let context = |error: io::Error| Error::from(error).context(format!("socket {}", shown(&self.socket)));
        let until = Instant::now() + ENDS_WITHIN;
        loop {
            let stream = match UnixStream::connect(&self.socket) {
                Ok(stream) => stream,
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    return hidden::remove(&self.socket).map_err(context);
                }
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
                Err(error) => return Err(context(error)),
            };
            let peer = socket_peercred(&stream).map_err(|error| context(error.into()))?;
            terminate(peer.pid, until)?;
        }
    }

    /// Ends it and makes sure that nobody has the image open any more, not even a daemon that has not come to listen yet.
    ///
    /// # Errors
    /// As [`Self::end`]; `unavailable` when somebody keeps the image open.
    pub(crate) fn end_all(&self, image: &File) -> Result<()> {
        for _ in 0..TRIES {
            self.end()?;
            if !lock::in_use(image)? {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        Err(Error::unavailable("another process (of another host?) has the unfinished image open"))
    }
}

/// Signals a daemon and waits for its end. A process number may have another owner by the time it is used: a descriptor may not.
fn terminate(pid: Pid, until: Instant) -> Result<()> {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        process => process.map_err(io::Error::from)?,
    };
    match fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())) {
        Ok(command) if command.trim_end() == COMMAND => {}
        Ok(_) => {
            return Err(Error::conflict("another program than the storage daemon listens at the socket of an unfinished image"));
        }
        Err(_) => return Ok(()),
    }
    match pidfd_send_signal(&process, Signal::TERM) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => return Err(Error::from(io::Error::from(error)).context(format!("cannot end {PROGRAM}"))),
    }
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => {}
            Ok(0) => return Err(Error::unavailable(format!("{PROGRAM} does not end within {} s", ENDS_WITHIN.as_secs()))),
            polled => return polled.map(drop).map_err(|error| io::Error::from(error).into()),
        }
    }
}

/// Starts a daemon, which returns once it listens. The image comes first: who does not get its lock must not take the socket away from
/// the one who did.
fn start(socket: &Path, image: &Path, export: &str) -> Result<()> {
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).ok_or_else(|| Error::invalid(format!("path {} is not UTF-8", shown(path))))
    };
    if !image.exists() {
        return Err(Error::missing("it was not prepared or is gone; restore again"));
    }
    if socket.exists() {
        // Whoever ends takes the socket away: this one was killed.
        run(Command::new("qemu-img").args(["check", "-q", "-r", "leaks", "-f", "qcow2", "--"]).arg(image))?;
    }
    let file = json!({ "driver": "file", "filename": text(image)? });
    let disk = json!({ "driver": "qcow2", "node-name": "disk", "discard": "unmap", "file": file });
    let server = json!({ "addr": { "type": "unix", "path": text(socket)? } });
    let shown = json!({ "type": "nbd", "id": "disk", "node-name": "disk", "name": export, "writable": true });
    let mut command = Command::new(PROGRAM);
    command.args(["--daemonize", "--blockdev", &disk.to_string()]);
    command.args(["--nbd-server", &server.to_string(), "--export", &shown.to_string()]);
    run(&mut command).map(drop)
}
