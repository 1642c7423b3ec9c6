use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use stillpoint_model::{Error, ErrorKind, Result};
use tokio::{
    io::{AsyncWriteExt, WriteHalf},
    sync::Mutex,
};

use super::{export::Export, lost, negotiation::ALLOCATION_ID};
use crate::{
    run::{self, Run, ZERO},
    stream::Boxed,
    wire::{self, Request},
};

/// A read that would come in more pieces is answered with one.
const CHUNKS_MAX: usize = 64;
/// Most runs that one reply tells of.
const RUNS_MAX: usize = 8192;
/// Longest text that goes with an error.
const TEXT_BYTES_MAX: usize = 400;

/// What is sent for a request.
enum Answer {
    Done,
    Runs(Vec<Run>),
}

/// Answers the requests of one connection.
pub struct Answers {
    export: Arc<dyn Export>,
    to: Mutex<WriteHalf<Boxed>>,
    structured: bool,
    allocation: bool,
}

/// An error as clients get it.
struct Refusal {
    errno: u32,
    text: String,
}

impl Answers {
    pub fn new(export: Arc<dyn Export>, to: WriteHalf<Boxed>, structured: bool, allocation: bool) -> Self {
        Self { export, to: Mutex::new(to), structured, allocation }
    }

    /// Carries a request out and sends the reply.
    ///
    /// # Errors
    /// Only of the connection.
    pub async fn answer(&self, request: &Request, payload: Bytes) -> Result<()> {
        let carried_out = match self.refusal(request) {
            Some(refusal) => Err(refusal),
            None => match request.command {
                wire::READ => return self.read(request).await,
                _ => self.carry_out(request, payload).await.map_err(Refusal::from),
            },
        };
        match carried_out {
            Ok(Answer::Done) => self.simple(request, 0, Bytes::new()).await,
            Ok(Answer::Runs(runs)) => self.runs(request, &runs).await,
            Err(refusal) => self.refuse(request, &refusal).await,
        }
    }

    /// Why a request cannot be right.
    fn refusal(&self, request: &Request) -> Option<Refusal> {
        let (command, length) = (request.command, u64::from(request.length));
        let changes = matches!(command, wire::WRITE | wire::WRITE_ZEROES | wire::TRIM);
        let flags = match command {
            wire::READ if self.structured => wire::NO_FRAGMENTS,
            wire::WRITE | wire::TRIM => wire::FUA,
            wire::WRITE_ZEROES => wire::FUA | wire::NO_HOLE,
            wire::BLOCK_STATUS => wire::ONE_RUN,
            _ => 0,
        };
        let is_inside = request.offset.checked_add(length).is_some_and(|end| end <= self.export.size_bytes());
        let refuse = |errno, text: &str| Some(Refusal { errno, text: text.to_owned() });
        match command {
            wire::READ | wire::WRITE | wire::FLUSH | wire::TRIM | wire::WRITE_ZEROES => {}
            wire::BLOCK_STATUS if self.structured && self.allocation && length > 0 => {}
            _ => return refuse(wire::EINVAL, "no such request"),
        }
        if changes && self.export.is_read_only() {
            return refuse(wire::EPERM, "the export is read-only");
        }
        if request.flags & !flags != 0 {
            return refuse(wire::EINVAL, "no such flags");
        }
        if !is_inside && command != wire::FLUSH {
            return refuse(if changes { wire::ENOSPC } else { wire::EINVAL }, "beyond the end of the export");
        }
        (command == wire::READ && (length == 0 || request.length > wire::PAYLOAD_BYTES_MAX))
            .then(|| Refusal { errno: wire::EINVAL, text: "too much or too little at once".to_owned() })
    }

    async fn carry_out(&self, request: &Request, payload: Bytes) -> Result<Answer> {
        let (offset, length) = (request.offset, u64::from(request.length));
        match request.command {
            wire::WRITE => self.export.write(offset, payload).await?,
            wire::WRITE_ZEROES => self.export.write_zeroes(offset, length, request.flags & wire::NO_HOLE == 0).await?,
            wire::TRIM => self.export.trim(offset, length).await?,
            wire::BLOCK_STATUS => {
                let mut runs = self.status(offset, length).await?;
                runs.truncate(if request.flags & wire::ONE_RUN == 0 { RUNS_MAX } else { 1 });
                return Ok(Answer::Runs(runs));
            }
            _ => self.export.flush().await?,
        }
        if request.flags & wire::FUA != 0 {
            self.export.flush().await?;
        }
        Ok(Answer::Done)
    }

    /// What the export knows of these bytes: at least one run, and none beyond them.
    async fn status(&self, offset: u64, length: u64) -> Result<Vec<Run>> {
        let runs = run::clipped(&self.export.block_status(offset, length).await?, 0, length);
        match runs.is_empty() {
            true => Err(Error::internal("an export knows nothing of its bytes")),
            false => Ok(runs),
        }
    }

    async fn read(&self, request: &Request) -> Result<()> {
        let length = u64::from(request.length);
        let pieces = match self.structured && request.flags & wire::NO_FRAGMENTS == 0 {
            true => self.pieces(request.offset, length).await,
            false => Ok(vec![Run::new(length, 0)]),
        };
        let pieces = match pieces {
            Ok(pieces) => pieces,
            Err(error) => return self.refuse(request, &error.into()).await,
        };
        let mut offset = request.offset;
        for piece in pieces {
            let end = offset + piece.length;
            let done = if end == request.offset + length { wire::DONE } else { 0 };
            if piece.flags & ZERO != 0 {
                self.hole(request, done, offset, piece.length).await?;
            } else {
                match self.data(offset, piece.length as usize).await {
                    Ok(data) if self.structured => self.chunk(request, done, wire::CHUNK_DATA, Some(offset), data).await?,
                    Ok(data) => self.simple(request, 0, data).await?,
                    Err(error) => return self.refuse(request, &error.into()).await,
                }
            }
            offset = end;
        }
        Ok(())
    }

    async fn data(&self, offset: u64, length: usize) -> Result<Bytes> {
        let data = self.export.read(offset, length).await?;
        match data.len() == length {
            true => Ok(data),
            false => Err(Error::internal(format!("an export read {} bytes instead of {length}", data.len()))),
        }
    }

    /// Data and zeroes of a range; one piece of data where there would be many, and for what the export tells nothing of.
    async fn pieces(&self, offset: u64, length: u64) -> Result<Vec<Run>> {
        let mut pieces = Vec::new();
        for run in self.status(offset, length).await? {
            run::append(&mut pieces, Run::new(run.length, run.flags & ZERO));
        }
        let told: u64 = pieces.iter().map(|piece| piece.length).sum();
        if told < length {
            run::append(&mut pieces, Run::new(length - told, 0));
        }
        Ok(if pieces.len() > CHUNKS_MAX { vec![Run::new(length, 0)] } else { pieces })
    }

    async fn hole(&self, request: &Request, done: u16, offset: u64, length: u64) -> Result<()> {
        let mut payload = BytesMut::with_capacity(4);
        // A read is at most 32 MiB long.
        payload.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        self.chunk(request, done, wire::CHUNK_HOLE, Some(offset), payload.freeze()).await
    }

    async fn runs(&self, request: &Request, runs: &[Run]) -> Result<()> {
        let mut payload = BytesMut::with_capacity(4 + 8 * runs.len());
        payload.put_u32(ALLOCATION_ID);
        for run in runs {
            // Clipped to the request, whose length has 32 bits.
            payload.put_u32(u32::try_from(run.length).unwrap_or(u32::MAX));
            payload.put_u32(run.flags);
        }
        self.chunk(request, wire::DONE, wire::CHUNK_BLOCK_STATUS, None, payload.freeze()).await
    }

    async fn refuse(&self, request: &Request, refusal: &Refusal) -> Result<()> {
        if !self.structured {
            return self.simple(request, refusal.errno, Bytes::new()).await;
        }
        let text = &refusal.text.as_bytes()[..refusal.text.floor_char_boundary(TEXT_BYTES_MAX)];
        let mut payload = BytesMut::with_capacity(6 + text.len());
        payload.put_u32(refusal.errno);
        payload.put_u16(u16::try_from(text.len()).unwrap_or(0));
        payload.put_slice(text);
        self.chunk(request, wire::DONE, wire::CHUNK_ERROR | 1, None, payload.freeze()).await
    }

    async fn simple(&self, request: &Request, errno: u32, data: Bytes) -> Result<()> {
        let mut header = BytesMut::with_capacity(16);
        header.put_u32(wire::SIMPLE_MAGIC);
        header.put_u32(errno);
        header.put_u64(request.cookie);
        self.send(header, data).await
    }

    async fn chunk(&self, request: &Request, flags: u16, kind: u16, offset: Option<u64>, payload: Bytes) -> Result<()> {
        let mut header = BytesMut::with_capacity(28);
        header.put_u32(wire::STRUCTURED_MAGIC);
        header.put_u16(flags);
        header.put_u16(kind);
        header.put_u64(request.cookie);
        let before = if offset.is_some() { size_of::<u64>() } else { 0 };
        header.put_u32(u32::try_from(before + payload.len()).map_err(|_| Error::internal("too long a chunk"))?);
        offset.into_iter().for_each(|offset| header.put_u64(offset));
        self.send(header, payload).await
    }

    async fn send(&self, header: BytesMut, payload: Bytes) -> Result<()> {
        let mut to = self.to.lock().await;
        to.write_all_buf(&mut header.chain(payload)).await.map_err(lost)?;
        to.flush().await.map_err(lost)
    }

    /// Ends the connection, politely where the client still listens.
    pub async fn close(&self) {
        drop(self.to.lock().await.shutdown().await);
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let errno = match error.kind() {
            ErrorKind::Denied => wire::EPERM,
            ErrorKind::Invalid => wire::EINVAL,
            _ => wire::EIO,
        };
        Self { errno, text: error.one_line() }
    }
}
