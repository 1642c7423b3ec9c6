//! JSON documents, one a line, over a Unix socket: what the monitor and the guest agent both speak.

use std::{path::Path, time::Duration};

use serde_json::Value;
use stillpoint_model::{Error, ErrorKind, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

/// Longest answer: a monitor with thousands of nodes stays far below.
const LINE_BYTES_MAX: usize = 32 << 20;
/// Until a socket takes a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection whose every wait ends.
pub(crate) struct Lines {
    stream: UnixStream,
    /// Read and not yet given out.
    pending: Vec<u8>,
    /// For messages: what is at the other end.
    what: String,
}

impl Lines {
    /// Connects.
    ///
    /// # Errors
    /// `missing` when nobody listens there, `denied`, `unavailable` when nobody answers.
    pub(crate) async fn connect(what: &str, path: &Path) -> Result<Self> {
        let what = format!("{what} {}", path.display());
        let stream = match timeout(CONNECT, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let kind = match error.kind() {
                    // The last one: who listened ended before it took the connection.
                    std::io::ErrorKind::NotFound
                    | std::io::ErrorKind::ConnectionRefused
                    | std::io::ErrorKind::ConnectionReset => ErrorKind::Missing,
                    std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                    _ => ErrorKind::Unavailable,
                };
                return Err(Error::new(kind, format!("cannot connect to {what}")).with_source(error));
            }
            Err(_) => return Err(Error::unavailable(format!("{what} takes no connection"))),
        };
        Ok(Self { stream, pending: Vec::new(), what })
    }

    /// What is at the other end.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// The process at the other end, if the system tells.
    pub(crate) fn peer(&self) -> Option<Peer> {
        let found = self.stream.peer_cred().ok()?;
        Some(Peer { process: found.pid(), user: found.uid(), group: found.gid() })
    }

    /// Sends `prefix` and a document.
    pub(crate) async fn send(&mut self, prefix: &[u8], document: &Value, within: Duration) -> Result<()> {
        let mut bytes = prefix.to_vec();
        bytes.extend_from_slice(document.to_string().as_bytes());
        bytes.push(b'\n');
        let sent = timeout(within, self.stream.write_all(&bytes)).await;
        sent.map_err(|_| self.silent())?.map_err(|error| self.broken(error))
    }

    /// The next document, as the other side ends it with a line feed.
    pub(crate) async fn receive(&mut self, within: Duration) -> Result<Value> {
        timeout(within, self.line(b'\n')).await.map_err(|_| self.silent())?.and_then(|line| {
            serde_json::from_slice(&line)
                .map_err(|error| Error::internal(format!("{} sent no JSON", self.what)).with_source(error))
        })
    }

    /// Passes over everything up to `sentinel`.
    pub(crate) async fn skip_to(&mut self, sentinel: u8, within: Duration) -> Result<()> {
        timeout(within, self.line(sentinel)).await.map_err(|_| self.silent())?.map(drop)
    }

    async fn line(&mut self, end: u8) -> Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(position) = self.pending[searched..].iter().position(|byte| *byte == end) {
                let rest = self.pending.split_off(searched + position + 1);
                let mut line = std::mem::replace(&mut self.pending, rest);
                line.pop();
                return Ok(line);
            }
            searched = self.pending.len();
            if searched > LINE_BYTES_MAX {
                return Err(Error::internal(format!("{} sent a line of more than {LINE_BYTES_MAX} bytes", self.what)));
            }
            match self.stream.read_buf(&mut self.pending).await {
                Ok(0) => return Err(Error::unavailable(format!("{} closed the connection", self.what))),
                Ok(_) => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    fn silent(&self) -> Error {
        Error::unavailable(format!("{} does not answer", self.what))
    }

    fn broken(&self, error: std::io::Error) -> Error {
        Error::unavailable(format!("the connection to {} broke", self.what)).with_source(error)
    }
}

/// Who listens at a socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) process: Option<i32>,
    pub(crate) user: u32,
    pub(crate) group: u32,
}
