use std::{
    fs, io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use stillpoint_model::{Error, Result};
use tokio::net::{TcpListener, UnixListener};

use crate::{address::Address, stream::Boxed};

/// Where a server listens. The file of a Unix socket goes with it.
pub struct Listener {
    socket: Socket,
    address: Address,
}

enum Socket {
    Unix { listener: UnixListener, _file: SocketFile },
    Tcp(TcpListener),
}

struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever finds it finds nobody listening, and may remove it too.
        drop(fs::remove_file(&self.0));
    }
}

impl Listener {
    /// Listens at an address; at a free port where the port is 0. A Unix socket that a killed server left behind is replaced.
    ///
    /// # Errors
    /// `conflict` where somebody else listens there, and where a file of that name is no socket; as the system says.
    pub async fn bind(address: &Address) -> Result<Self> {
        let failed = |error: io::Error| {
            let message = format!("cannot listen at {address}");
            match error.kind() {
                io::ErrorKind::AddrInUse => Error::conflict(message).with_source(error),
                _ => Error::from(error).context(message),
            }
        };
        match address {
            Address::Unix(path) => {
                let listener = bind_unix(path).await.map_err(failed)?;
                Ok(Self { socket: Socket::Unix { listener, _file: SocketFile(path.clone()) }, address: address.clone() })
            }
            Address::Tcp { host, port } => {
                let listener = TcpListener::bind((host.as_str(), *port)).await.map_err(failed)?;
                let port = listener.local_addr().map_err(failed)?.port();
                Ok(Self { socket: Socket::Tcp(listener), address: Address::Tcp { host: host.clone(), port } })
            }
        }
    }

    /// Where it listens, with the port that was found free.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    pub(super) async fn accept(&self) -> io::Result<Boxed> {
        match &self.socket {
            Socket::Unix { listener, .. } => Ok(Box::new(listener.accept().await?.0)),
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
        }
    }
}

async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // Connections to files of any kind are refused.
            let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
            match tokio::net::UnixStream::connect(path).await {
                Err(nobody) if is_socket && nobody.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
                _ => return Err(error),
            }
            UnixListener::bind(path)
        }
        bound => bound,
    }
}
