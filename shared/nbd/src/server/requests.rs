use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use stillpoint_model::{Error, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt, BufReader},
    sync::{Notify, Semaphore, watch},
    task::JoinSet,
};

use super::{answers::Answers, lost, negotiation::Agreed};
use crate::wire::{self, Request};

/// Larger payloads are read past this buffer.
const BUFFER_BYTES: usize = 16 << 10;
/// Unit in which the memory of requests under way is counted.
const UNIT_BYTES: u32 = 1 << 10;
/// Memory of requests under way on one connection: as much as the largest single one takes.
const MEMORY_UNITS: u32 = wire::PAYLOAD_BYTES_MAX / UNIT_BYTES;

/// Takes requests and answers them, several at a time, until the client leaves, breaks the protocol or `stop` is true; what is under
/// way then is brought to its end.
pub async fn serve_requests(agreed: Agreed, in_flight: usize, mut stop: watch::Receiver<bool>) -> Result<()> {
    let (from, to) = tokio::io::split(agreed.stream);
    let mut from = BufReader::with_capacity(BUFFER_BYTES, from);
    let answers = Arc::new(Answers::new(agreed.export, to, agreed.structured, agreed.allocation));
    let turns = Arc::new(Semaphore::new(in_flight.clamp(1, Semaphore::MAX_PERMITS)));
    let memory = Arc::new(Semaphore::new(MEMORY_UNITS as usize));
    let failed = Arc::new(Notify::new());
    let mut under_way = JoinSet::new();
    let ended = loop {
        let request = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break Ok(()),
            () = failed.notified() => break Err(Error::internal("a request was not answered")),
            request = next_request(&mut from) => request,
        };
        let request = match request {
            Ok(Some(request)) => request,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let (Ok(turn), Ok(units)) =
            (turns.clone().acquire_owned().await, memory.clone().acquire_many_owned(units(&request)).await)
        else {
            break Err(Error::internal("a limit was taken away"));
        };
        let payload = match payload(&mut from, &request).await {
            Ok(payload) => payload,
            Err(error) => break Err(error),
        };
        let (answers, mut guard) = (answers.clone(), Guard { failed: failed.clone(), is_answered: false });
        under_way.spawn(async move {
            guard.settle(answers.answer(&request, payload).await.is_ok());
            drop((turn, units));
        });
        while under_way.try_join_next().is_some() {}
    };
    while under_way.join_next().await.is_some() {}
    answers.close().await;
    ended
}

/// Tells when a request ends without an answer, as when an export panics: its client would wait for ever.
struct Guard {
    failed: Arc<Notify>,
    is_answered: bool,
}

impl Guard {
    const fn settle(&mut self, is_answered: bool) {
        self.is_answered = is_answered;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.is_answered {
            self.failed.notify_one();
        }
    }
}

/// The next request; none where the client takes its leave, or closes the connection where it may.
async fn next_request(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Request>> {
    let mut header = [0; wire::REQUEST_BYTES];
    match from.read_exact(&mut header[..1]).await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read.map_err(lost)?,
    };
    from.read_exact(&mut header[1..]).await.map_err(lost)?;
    let request = Request::get(&mut header.as_slice()).ok_or_else(|| Error::invalid("a request of the client is none"))?;
    if request.command == wire::WRITE && request.length > wire::PAYLOAD_BYTES_MAX {
        return Err(Error::invalid("the client writes more than was agreed on"));
    }
    Ok((request.command != wire::DISCONNECT).then_some(request))
}

/// Memory that a request takes.
fn units(request: &Request) -> u32 {
    match request.command {
        wire::READ | wire::WRITE => request.length.div_ceil(UNIT_BYTES).min(MEMORY_UNITS),
        _ => 1,
    }
}

async fn payload(from: &mut (impl AsyncRead + Unpin), request: &Request) -> Result<Bytes> {
    if request.command != wire::WRITE {
        return Ok(Bytes::new());
    }
    let length = request.length as usize;
    let mut payload = BytesMut::with_capacity(length.min(1 << 20));
    while payload.len() < length {
        let left = length - payload.len();
        if from.take(left as u64).read_buf(&mut payload).await.map_err(lost)? == 0 {
            return Err(Error::unavailable("the client closed the connection"));
        }
    }
    Ok(payload.freeze())
}
