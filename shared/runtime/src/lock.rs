use std::os::{
    linux::net::SocketAddrExt,
    unix::net::{SocketAddr, UnixListener},
};

use stillpoint_model::{Error, JobId, Result};

/// Held by one process of this machine at a time. An abstract socket: it vanishes with its process, however that ends, and
/// leaves no file behind.
fn try_hold(name: &str) -> Result<Option<UnixListener>> {
    let internal = |error: std::io::Error| Error::internal(format!("cannot lock {name} on this machine")).with_source(error);
    let address = SocketAddr::from_abstract_name(format!("stillpoint-{name}")).map_err(internal)?;
    match UnixListener::bind_addr(&address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(internal(error)),
    }
}

/// Says that a process of this machine works on a job.
#[derive(Debug)]
pub struct JobLock {
    job: JobId,
    _listener: UnixListener,
}

impl JobLock {
    /// Takes the lock; `None` when another process of this machine holds it.
    ///
    /// # Errors
    /// `internal` when the system refuses sockets.
    pub fn try_acquire(job: JobId) -> Result<Option<Self>> {
        Ok(try_hold(&format!("job-{job}"))?.map(|listener| Self { job, _listener: listener }))
    }

    /// The job.
    #[must_use]
    pub const fn job(&self) -> JobId {
        self.job
    }
}

/// Says that a function of this machine handles an event: a repeated delivery waits, instead of doing the work twice at once.
#[derive(Debug)]
pub(crate) struct EventLock {
    _listener: UnixListener,
}

impl EventLock {
    /// Takes the lock; `None` when this or another process of this machine holds it. `name` has at most 90 bytes.
    pub(crate) fn try_acquire(name: &str) -> Result<Option<Self>> {
        Ok(try_hold(name)?.map(|listener| Self { _listener: listener }))
    }
}
