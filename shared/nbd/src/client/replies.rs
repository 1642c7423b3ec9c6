use bytes::Buf;
use stillpoint_model::Result;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{
    handshake::{broken, lost},
    request::{Answer, Progress},
    waiting::Waiting,
};
use crate::{
    run::Run,
    wire::{self, take_u16, take_u32, take_u64},
};

/// Longest chunk that tells of runs: 1024 × 1024 of them, more than any known server sends.
const RUNS_BYTES_MAX: usize = 4 + (8 << 20);
/// Longest chunk that tells of an error: a number, a text of at most 4096 bytes, an offset.
const ERROR_BYTES_MAX: usize = 16 + wire::NAME_BYTES_MAX;
/// Memory is taken in such steps, for what has really come.
const STEP_BYTES: usize = 64 << 10;

/// A chunk of a structured reply.
struct Chunk {
    kind: u16,
    length: usize,
}

/// Reads replies until the connection fails or the server breaks the protocol.
pub struct Replies<R> {
    pub from: R,
    pub structured: bool,
    /// Numbers of the contexts that were granted.
    pub contexts: Vec<u32>,
}

impl<R: AsyncRead + Unpin> Replies<R> {
    /// Reads one reply, or one chunk of it.
    pub async fn next(&mut self, waiting: &Waiting) -> Result<()> {
        match self.from.read_u32().await.map_err(lost)? {
            wire::SIMPLE_MAGIC => self.simple(waiting).await,
            wire::STRUCTURED_MAGIC if self.structured => self.chunk(waiting).await,
            _ => Err(broken("a reply is none")),
        }
    }

    async fn simple(&mut self, waiting: &Waiting) -> Result<()> {
        let mut header = [0; 12];
        self.from.read_exact(&mut header).await.map_err(lost)?;
        let mut header = header.as_slice();
        let (errno, cookie) = (header.get_u32(), header.get_u64());
        let mut progress = waiting.take(cookie).ok_or_else(unasked)?;
        if errno != 0 {
            progress.failure.get_or_insert(wire::failure(errno, &[]));
        } else {
            match &mut progress.answer {
                Answer::Done => {}
                Answer::Bytes(filling) if !self.structured => {
                    let (offset, length) = filling.whole();
                    self.from.read_exact(filling.place(offset, length)?).await.map_err(lost)?;
                }
                _ => return Err(broken("it answers without structure what needs one")),
            }
        }
        waiting.finish(cookie, progress.outcome());
        Ok(())
    }

    async fn chunk(&mut self, waiting: &Waiting) -> Result<()> {
        let mut header = [0; 16];
        self.from.read_exact(&mut header).await.map_err(lost)?;
        let mut header = header.as_slice();
        let (flags, kind, cookie) = (header.get_u16(), header.get_u16(), header.get_u64());
        let chunk = Chunk { kind, length: header.get_u32() as usize };
        let mut progress = waiting.take(cookie).ok_or_else(unasked)?;
        self.payload(&chunk, &mut progress).await?;
        match flags & wire::DONE {
            0 if chunk.kind == wire::CHUNK_NONE => return Err(broken("a chunk of nothing is not the last")),
            0 => waiting.keep(cookie, progress),
            _ => waiting.finish(cookie, progress.outcome()),
        }
        Ok(())
    }

    async fn payload(&mut self, chunk: &Chunk, progress: &mut Progress) -> Result<()> {
        match (chunk.kind, &mut progress.answer) {
            (wire::CHUNK_NONE, _) if chunk.length == 0 => Ok(()),
            (wire::CHUNK_DATA, Answer::Bytes(filling)) if chunk.length > 8 => {
                let offset = self.from.read_u64().await.map_err(lost)?;
                let place = filling.place(offset, chunk.length - 8)?;
                self.from.read_exact(place).await.map_err(lost)?;
                Ok(())
            }
            (wire::CHUNK_HOLE, Answer::Bytes(filling)) if chunk.length == 12 => {
                let offset = self.from.read_u64().await.map_err(lost)?;
                let length = self.from.read_u32().await.map_err(lost)?;
                filling.place(offset, length as usize)?.fill(0);
                Ok(())
            }
            (wire::CHUNK_BLOCK_STATUS, Answer::Runs(statuses)) if chunk.length >= 12 && chunk.length % 8 == 4 => {
                let payload = self.payload_bytes(chunk.length, RUNS_BYTES_MAX).await?;
                let mut payload = payload.as_slice();
                let context = payload.get_u32();
                if !self.contexts.contains(&context) {
                    return Err(broken("it tells of a metadata context that was not granted"));
                }
                let runs = payload.chunks_exact(8).map(|mut run| Run::new(u64::from(run.get_u32()), run.get_u32()));
                statuses.add(context, runs.collect())
            }
            (kind, _) if kind & wire::CHUNK_ERROR != 0 => {
                let payload = self.payload_bytes(chunk.length, ERROR_BYTES_MAX).await?;
                progress.failure.get_or_insert(failure(kind, &payload)?);
                Ok(())
            }
            (kind, _) => Err(broken(&format!("a chunk of type {kind} and {} bytes is no answer", chunk.length))),
        }
    }

    async fn payload_bytes(&mut self, length: usize, length_max: usize) -> Result<Vec<u8>> {
        if length > length_max {
            return Err(broken("a chunk is too long"));
        }
        let mut payload = Vec::new();
        while payload.len() < length {
            let start = payload.len();
            payload.resize(length.min(start + STEP_BYTES), 0);
            self.from.read_exact(&mut payload[start..]).await.map_err(lost)?;
        }
        Ok(payload)
    }
}

/// The error that a chunk tells of. Types that are not known begin like those that are.
fn failure(kind: u16, mut payload: &[u8]) -> Result<stillpoint_model::Error> {
    let cut_short = || broken("an error is cut short");
    let errno = take_u32(&mut payload).filter(|errno| *errno != 0).ok_or_else(cut_short)?;
    let length = take_u16(&mut payload).ok_or_else(cut_short)?;
    let (said, mut rest) = payload.split_at_checked(usize::from(length)).ok_or_else(cut_short)?;
    let failure = wire::failure(errno, said);
    match take_u64(&mut rest) {
        Some(offset) if kind == wire::CHUNK_ERROR_OFFSET => Ok(failure.context(format!("at byte {offset}"))),
        _ => Ok(failure),
    }
}

fn unasked() -> stillpoint_model::Error {
    broken("it answers what nobody asked")
}
