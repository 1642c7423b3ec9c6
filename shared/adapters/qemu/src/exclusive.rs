use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::MetadataExt,
            net::{SocketAddr, UnixListener},
        },
    },
    path::Path,
    time::Duration,
};

use stillpoint_model::{Error, Result};
use tokio::time::{Instant, sleep};

/// How long somebody else may hold a socket: a whole freeze with its hooks and scripts' pauses.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// Says that this process alone uses a socket of QEMU's, which serves one client and lets the second wait without a word. An abstract
/// socket: it vanishes with its process, however that ends.
pub(crate) struct Exclusive {
    _listener: UnixListener,
}

impl Exclusive {
    /// Waits until nobody else uses the socket at `path`.
    ///
    /// # Errors
    /// `missing`, `denied`; `unavailable` when somebody else does so for long.
    pub(crate) async fn acquire(path: &Path) -> Result<Self> {
        let found = std::fs::metadata(path).map_err(|error| Error::from(error).context(format!("socket {}", path.display())))?;
        let name = format!("stillpoint-socket-{}-{}", found.dev(), found.ino());
        let internal = |error| Error::internal("cannot lock a socket on this machine").with_source(error);
        let address = SocketAddr::from_abstract_name(name).map_err(internal)?;
        let end = Instant::now() + PATIENCE;
        loop {
            match UnixListener::bind_addr(&address) {
                Ok(listener) => return Ok(Self { _listener: listener }),
                Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => return Err(internal(error)),
                Err(_) if Instant::now() >= end => {
                    return Err(Error::unavailable(format!("another process of stillpoint uses {}", path.display())));
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}
