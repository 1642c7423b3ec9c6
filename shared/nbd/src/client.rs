mod connection;
mod handshake;
mod pieces;
mod replies;
mod request;
mod waiting;

use std::time::Duration;

use bytes::Bytes;
use stillpoint_model::{Error, Result};
use tokio::time::timeout;

pub use handshake::BlockSizes;

use crate::{
    address::Address,
    run::{self, Run},
    stream::{Boxed, Stream},
    tls::Tls,
    wire::{self, Request},
};
use connection::{Connection, Limits};
use handshake::{Details, Wanted, broken, handshake};
use pieces::{Piece, pieces};
use request::{Answer, Filling, Statuses};

/// Requests without payload are cut to this length: any server takes it, and it is a multiple of every block size.
const STEP_BYTES: u64 = 1 << 30;
/// Most runs of one map: 64 MiB of memory.
const RUNS_MAX: usize = 4 << 20;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Talks TLS, and never without.
    pub tls: Option<Tls>,
    /// Connections; more than one only where the server grants that.
    pub connections: usize,
    /// Requests under way on each connection.
    pub in_flight: usize,
    /// Most bytes that one read asks for, where the server allows as many; a multiple of its blocks.
    pub read_bytes: u32,
    /// How long it may take until a connection can be used.
    pub connect_deadline: Duration,
    /// How long the server may take to answer a request; after that the connection is given up.
    pub request_deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: None,
            connections: 1,
            in_flight: 16,
            read_bytes: u32::MAX,
            connect_deadline: Duration::from_secs(30),
            request_deadline: Duration::from_secs(60),
        }
    }
}

/// One export of a server. All requests take `&self` and may be under way at the same time. Once a connection failed, everything that
/// waits and all that follows is `unavailable` (`internal` where the server broke the protocol); make another client then.
///
/// # Cancellation
/// A future that is dropped leaves its request to run to its end; writes may then have happened or not.
pub struct Client {
    connections: Vec<Connection>,
    details: Details,
    read_bytes: u32,
    /// Export and address, for messages.
    what: String,
}

impl Client {
    /// Connects to `export`. Which of the metadata `contexts` were granted, [`Self::has_context`] tells.
    ///
    /// # Errors
    /// `missing` where there is no such export, `denied` where the server refuses or TLS cannot be agreed on, `unavailable` where it
    /// does not answer in time, `invalid` for names that are too long and servers that are too old.
    pub async fn connect(address: &Address, export: &str, contexts: &[&str], options: &Options) -> Result<Self> {
        let what = format!("export '{}' of {address}", export.escape_debug());
        let connect = async || {
            let connected = async {
                let stream = address.connect().await?;
                Self::begin(stream, export, contexts, options, address.server_name()).await
            };
            within(options.connect_deadline, connected).await.map_err(|error| error.context(&what))
        };
        let (connection, details) = connect().await?;
        let read_bytes = options.read_bytes;
        let mut client = Self { connections: vec![connection], details, read_bytes, what: what.clone() };
        if client.can_multi_connect() {
            while client.connections.len() < options.connections {
                let (connection, details) = connect().await?;
                if details.is_other(&client.details) {
                    return Err(Error::unavailable("the export has changed").context(&what));
                }
                client.connections.push(connection);
            }
        }
        Ok(client)
    }

    /// The same over a stream that is there: one connection. `name` stands for the address in messages, and for the host in TLS.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn over(stream: impl Stream, name: &str, export: &str, contexts: &[&str], options: &Options) -> Result<Self> {
        let what = format!("export '{}' of {}", export.escape_debug(), name.escape_debug());
        let begun = Self::begin(Box::new(stream), export, contexts, options, name);
        let begun = within(options.connect_deadline, begun).await;
        let (connection, details) = begun.map_err(|error| error.context(&what))?;
        Ok(Self { connections: vec![connection], details, read_bytes: options.read_bytes, what })
    }

    async fn begin(
        stream: Boxed,
        export: &str,
        contexts: &[&str],
        options: &Options,
        host: &str,
    ) -> Result<(Connection, Details)> {
        if contexts.iter().chain([&export]).any(|name| name.len() > wire::NAME_BYTES_MAX) {
            return Err(Error::invalid(format!("a name has more than {} bytes", wire::NAME_BYTES_MAX)));
        }
        let wanted = Wanted { export, contexts, tls: options.tls.as_ref().map(|tls| (tls, host)) };
        let (stream, details) = handshake(stream, &wanted).await?;
        let limits = Limits { in_flight: options.in_flight, deadline: options.request_deadline };
        Ok((Connection::start(stream, &details, limits), details))
    }

    /// Size of the export.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.details.size_bytes
    }

    /// Whether the server refuses writes.
    #[must_use]
    pub const fn is_read_only(&self) -> bool {
        self.details.flags & wire::READ_ONLY != 0
    }

    /// Whether several connections see each other's flushed writes.
    #[must_use]
    pub const fn can_multi_connect(&self) -> bool {
        self.details.flags & wire::CAN_MULTI_CONN != 0
    }

    /// Whether [`Self::trim`] does something.
    #[must_use]
    pub const fn can_trim(&self) -> bool {
        self.details.flags & wire::SEND_TRIM != 0
    }

    /// Connections in use.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Sizes of requests that the server wants; the client cuts requests accordingly.
    #[must_use]
    pub const fn block_sizes(&self) -> BlockSizes {
        self.details.blocks
    }

    /// Whether the server granted a metadata context.
    #[must_use]
    pub fn has_context(&self, name: &str) -> bool {
        self.details.contexts.iter().any(|(_, known)| known == name)
    }

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// `invalid` past the end of the export; `denied`, `invalid` or `unavailable` as the server says.
    pub async fn read(&self, offset: u64, buffer: Vec<u8>) -> Result<Vec<u8>> {
        self.labelled(self.read_all(offset, buffer).await)
    }

    async fn read_all(&self, offset: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        self.inside(offset, buffer.len() as u64)?;
        let unit = u64::from(self.details.blocks.minimum);
        let (start, end) = (offset / unit * unit, (offset + buffer.len() as u64).next_multiple_of(unit).min(self.size_bytes()));
        let most = u64::from(self.details.blocks.maximum.min(self.read_bytes));
        if start == offset && end - start == buffer.len() as u64 && end - start <= most {
            return if buffer.is_empty() { Ok(buffer) } else { self.read_piece(offset, buffer).await };
        }
        for piece in pieces(start, end - start, most) {
            let bytes = self.read_piece(piece.offset, vec![0; piece.bytes()]).await?;
            let from = piece.offset.max(offset);
            let to = (piece.offset + piece.length).min(offset + buffer.len() as u64);
            if from < to {
                let source = &bytes[(from - piece.offset) as usize..(to - piece.offset) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
            }
        }
        Ok(buffer)
    }

    async fn read_piece(&self, offset: u64, buffer: Vec<u8>) -> Result<Vec<u8>> {
        let length = buffer.len() as u64;
        let answer = Answer::Bytes(Filling::new(offset, buffer));
        match self.ask(wire::READ, 0, Piece { offset, length }, Bytes::new(), answer).await? {
            Answer::Bytes(filling) => filling.finish(),
            _ => Err(Error::internal("a read brought no bytes")),
        }
    }

    /// Writes `data` from `offset` on. Nothing is promised to be on disk before [`Self::flush`].
    ///
    /// # Errors
    /// `denied` for an export that is read-only; `invalid` past its end, and where offset or length are no multiples of the smallest
    /// block size; as the server says.
    pub async fn write(&self, offset: u64, data: Bytes) -> Result<()> {
        let written = async {
            self.changes(offset, data.len() as u64)?;
            for piece in pieces(offset, data.len() as u64, u64::from(self.details.blocks.maximum)) {
                let start = (piece.offset - offset) as usize;
                self.ask(wire::WRITE, 0, piece, data.slice(start..start + piece.bytes()), Answer::Done).await?;
            }
            Ok(())
        };
        self.labelled(written.await)
    }

    /// Makes `length` bytes from `offset` on zero; with `may_punch` the server may give their storage back. A server that cannot
    /// gets the zeroes as data.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_zeroes(&self, offset: u64, length: u64, may_punch: bool) -> Result<()> {
        if self.details.flags & wire::SEND_WRITE_ZEROES == 0 {
            return self.write_zeroes_as_data(offset, length).await;
        }
        let flags = if may_punch { 0 } else { wire::NO_HOLE };
        self.labelled(self.without_payload(wire::WRITE_ZEROES, flags, offset, length).await)
    }

    async fn write_zeroes_as_data(&self, offset: u64, length: u64) -> Result<()> {
        self.labelled(self.changes(offset, length))?;
        let most = u64::from(self.details.blocks.maximum);
        let zeroes = Bytes::from(vec![0; length.min(most) as usize]);
        for piece in pieces(offset, length, most) {
            self.write(piece.offset, zeroes.slice(..piece.bytes())).await?;
        }
        Ok(())
    }

    /// Tells the server that the bytes are no longer needed; what is read there afterwards is not said. Does nothing where the server
    /// cannot ([`Self::can_trim`]).
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn trim(&self, offset: u64, length: u64) -> Result<()> {
        let trimmed = match self.can_trim() {
            true => self.without_payload(wire::TRIM, 0, offset, length).await,
            false => self.changes(offset, length),
        };
        self.labelled(trimmed)
    }

    async fn without_payload(&self, command: u16, flags: u16, offset: u64, length: u64) -> Result<()> {
        self.changes(offset, length)?;
        for piece in pieces(offset, length, STEP_BYTES) {
            self.ask(command, flags, piece, Bytes::new(), Answer::Done).await?;
        }
        Ok(())
    }

    /// Returns when all that was written (over any of the connections) is on disk.
    ///
    /// # Errors
    /// As the server says.
    pub async fn flush(&self) -> Result<()> {
        if self.details.flags & wire::SEND_FLUSH == 0 {
            return self.labelled(self.connections.iter().try_for_each(Connection::check));
        }
        let flushed = self.ask(wire::FLUSH, 0, Piece { offset: 0, length: 0 }, Bytes::new(), Answer::Done).await;
        self.labelled(flushed.map(|_| ()))
    }

    /// The runs of a context from `offset` on: at least one, together at most `length` bytes, and fewer as the server likes.
    ///
    /// # Errors
    /// `missing` where the context was not granted; `invalid` past the end of the export; as the server says.
    pub async fn block_status(&self, context: &str, offset: u64, length: u64) -> Result<Vec<Run>> {
        self.labelled(self.runs(context, offset, length).await)
    }

    async fn runs(&self, context: &str, offset: u64, length: u64) -> Result<Vec<Run>> {
        self.inside(offset, length)?;
        if length == 0 {
            return Ok(Vec::new());
        }
        let connection = self.connection()?;
        let not_granted = || Error::missing(format!("the server has no metadata context '{}'", context.escape_debug()));
        let id = connection.context(context).ok_or_else(not_granted)?;
        let unit = u64::from(self.details.blocks.minimum);
        let start = offset / unit * unit;
        let before = offset - start;
        let asked = (before + length).next_multiple_of(unit).min(self.size_bytes() - start).min(STEP_BYTES);
        let request = request(wire::BLOCK_STATUS, 0, start, asked)?;
        let answer = Answer::Runs(Statuses { length: asked, by_context: Vec::new() });
        let Answer::Runs(statuses) = connection.ask(request, Bytes::new(), answer).await? else {
            return Err(Error::internal("a request for runs brought none"));
        };
        let runs = statuses.by_context.iter().find(|(known, _)| *known == id);
        let (_, runs) = runs.ok_or_else(|| broken("it leaves out a metadata context"))?;
        let clipped = run::clipped(runs, before, length.min(asked - before));
        if clipped.is_empty() {
            return Err(broken("it tells nothing of the bytes asked about"));
        }
        Ok(clipped)
    }

    /// All runs of a context from `offset` on, which together are `length` bytes; runs that touch and are alike are one.
    ///
    /// # Errors
    /// As [`Self::block_status`]; `invalid` where there are more than 4 million runs (ask for shorter ranges).
    pub async fn map(&self, context: &str, offset: u64, length: u64) -> Result<Vec<Run>> {
        self.labelled(self.inside(offset, length))?;
        let (mut runs, mut done) = (Vec::new(), 0);
        while done < length {
            for next in self.block_status(context, offset + done, length - done).await? {
                done += next.length;
                run::append(&mut runs, next);
            }
            if runs.len() > RUNS_MAX {
                return self.labelled(Err(Error::invalid(format!("more than {RUNS_MAX} runs within {length} bytes"))));
            }
        }
        Ok(runs)
    }

    /// Takes leave of the server. (A client that is just dropped does so too, if its runtime goes on.)
    pub async fn close(self) {
        for connection in self.connections {
            connection.close().await;
        }
    }

    async fn ask(&self, command: u16, flags: u16, piece: Piece, payload: Bytes, answer: Answer) -> Result<Answer> {
        let request = request(command, flags, piece.offset, piece.length)?;
        self.connection()?.ask(request, payload, answer).await
    }

    /// The connection that has the least to do.
    fn connection(&self) -> Result<&Connection> {
        self.connections.iter().try_for_each(Connection::check)?;
        self.connections.iter().max_by_key(|connection| connection.free()).ok_or_else(|| Error::internal("no connection"))
    }

    fn inside(&self, offset: u64, length: u64) -> Result<()> {
        match offset.checked_add(length).is_some_and(|end| end <= self.size_bytes()) {
            true => Ok(()),
            false => Err(Error::invalid(format!("{length} bytes at {offset} go beyond its {} bytes", self.size_bytes()))),
        }
    }

    fn changes(&self, offset: u64, length: u64) -> Result<()> {
        self.inside(offset, length)?;
        if self.is_read_only() {
            return Err(Error::denied("it is read-only"));
        }
        let unit = u64::from(self.details.blocks.minimum);
        match offset.is_multiple_of(unit) && length.is_multiple_of(unit) {
            true => Ok(()),
            false => Err(Error::invalid(format!("{length} bytes at {offset} are no whole blocks of {unit} bytes"))),
        }
    }

    fn labelled<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.context(&self.what))
    }
}

impl Details {
    /// Whether a second connection came to something else. Numbers of contexts may differ.
    fn is_other(&self, first: &Self) -> bool {
        let names = |details: &Self| details.contexts.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>();
        (self.size_bytes, self.flags, self.blocks, self.structured)
            != (first.size_bytes, first.flags, first.blocks, first.structured)
            || names(self) != names(first)
    }
}

fn request(command: u16, flags: u16, offset: u64, length: u64) -> Result<Request> {
    let length = u32::try_from(length).map_err(|_| Error::internal("too long a request"))?;
    Ok(Request { flags, command, cookie: 0, offset, length })
}

async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || Error::unavailable(format!("the server does not answer within {} s", deadline.as_secs_f64()));
    timeout(deadline, work).await.unwrap_or_else(|_| Err(late()))
}
