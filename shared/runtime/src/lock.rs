use std::os::{
    linux::net::SocketAddrExt,
    unix::net::{SocketAddr, UnixListener},
};

use stillpoint_model::{Error, JobId, Result};

/// Says that a process of this machine works on a job. An abstract socket: it vanishes with its process, however that ends,
/// and leaves no file behind.
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
        let internal = |error: std::io::Error| Error::internal("cannot lock the job on this machine").with_source(error);
        let address = SocketAddr::from_abstract_name(format!("stillpoint-job-{job}")).map_err(internal)?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => Ok(Some(Self { job, _listener: listener })),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(internal(error)),
        }
    }

    /// The job.
    #[must_use]
    pub const fn job(&self) -> JobId {
        self.job
    }
}
