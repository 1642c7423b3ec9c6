use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use stillpoint_model::{Error, Result};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt, BufReader},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    handshake::{Details, lost},
    replies::Replies,
    request::{Answer, Progress},
    waiting::Waiting,
};
use crate::{
    stream::Boxed,
    wire::{self, Request},
};

/// Larger payloads are read past this buffer, straight to where they belong.
const BUFFER_BYTES: usize = 16 << 10;

/// Leaves nobody waiting when the task of a connection ends, however it does.
struct Ending {
    waiting: Arc<Waiting>,
    turns: Arc<Semaphore>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // The first reason counts.
        self.waiting.end(&Error::internal("the connection was given up without a reason"));
        self.turns.close();
    }
}

/// What a connection may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub in_flight: usize,
    pub deadline: Duration,
}

/// One connection, and the task that reads and writes on it.
pub struct Connection {
    waiting: Arc<Waiting>,
    turns: Arc<Semaphore>,
    queue: mpsc::UnboundedSender<(Request, Bytes)>,
    task: JoinHandle<()>,
    deadline: Duration,
    contexts: Vec<(u32, String)>,
}

impl Connection {
    pub fn start(stream: Boxed, details: &Details, limits: Limits) -> Self {
        let waiting = Arc::new(Waiting::new());
        let turns = Arc::new(Semaphore::new(limits.in_flight.clamp(1, Semaphore::MAX_PERMITS)));
        let (queue, requests) = mpsc::unbounded_channel();
        let contexts = details.contexts.clone();
        let (from, to) = tokio::io::split(stream);
        let replies = Replies {
            from: BufReader::with_capacity(BUFFER_BYTES, from),
            structured: details.structured,
            contexts: contexts.iter().map(|(id, _)| *id).collect(),
        };
        let ending = Ending { waiting: waiting.clone(), turns: turns.clone() };
        let task = tokio::spawn(async move {
            let waiting = &ending.waiting;
            let ended = tokio::select! {
                error = read(replies, waiting) => error,
                error = write(to, requests) => error,
                error = watch(waiting, limits.deadline) => error,
            };
            waiting.end(&ended);
        });
        Self { waiting, turns, queue, task, deadline: limits.deadline, contexts }
    }

    /// How many requests it could take at once.
    pub fn free(&self) -> usize {
        self.turns.available_permits()
    }

    /// Why it can no longer be used.
    pub fn check(&self) -> Result<()> {
        self.waiting.check()
    }

    /// The number of a context on this connection.
    pub fn context(&self, name: &str) -> Option<u32> {
        self.contexts.iter().find(|(_, known)| known == name).map(|(id, _)| *id)
    }

    /// Sends a request when it is its turn and waits for what it brings. Its cookie is given here. A request whose future is dropped
    /// runs to its end all the same.
    pub async fn ask(&self, mut request: Request, payload: Bytes, answer: Answer) -> Result<Answer> {
        let Ok(turn) = self.turns.clone().acquire_owned().await else {
            self.waiting.check()?;
            return Err(Error::unavailable("the connection is closed"));
        };
        let (cookie, outcome) = self.waiting.enter(Progress::new(answer), Instant::now() + self.deadline, turn)?;
        request.cookie = cookie;
        // A task that has ended told so to whoever waits.
        drop(self.queue.send((request, payload)));
        outcome.await.unwrap_or_else(|_| Err(Error::unavailable("the connection is closed")))
    }

    /// Takes leave of the server and waits until that is sent.
    pub async fn close(self) {
        drop(self.queue);
        // A server that does not listen keeps nobody from leaving.
        if timeout(self.deadline, self.task).await.is_err() {
            self.waiting.end(&Error::unavailable("the connection is closed"));
        }
    }
}

async fn read<R: tokio::io::AsyncRead + Unpin>(mut replies: Replies<R>, waiting: &Waiting) -> Error {
    loop {
        if let Err(error) = replies.next(waiting).await {
            return error;
        }
    }
}

async fn write(mut to: impl AsyncWrite + Unpin, mut requests: mpsc::UnboundedReceiver<(Request, Bytes)>) -> Error {
    match write_all(&mut to, &mut requests).await {
        Ok(()) => Error::unavailable("the connection is closed"),
        Err(error) => lost(error),
    }
}

/// Writes requests as they come, those that come together in one go; takes leave after the last.
async fn write_all(
    to: &mut (impl AsyncWrite + Unpin),
    requests: &mut mpsc::UnboundedReceiver<(Request, Bytes)>,
) -> std::io::Result<()> {
    let mut headers = BytesMut::new();
    while let Some((request, mut payload)) = requests.recv().await {
        request.put(&mut headers);
        while payload.is_empty()
            && let Ok((request, next)) = requests.try_recv()
        {
            request.put(&mut headers);
            payload = next;
        }
        to.write_all_buf(&mut (&mut headers).chain(payload)).await?;
        to.flush().await?;
    }
    let leave = Request { flags: 0, command: wire::DISCONNECT, cookie: 0, offset: 0, length: 0 };
    leave.put(&mut headers);
    to.write_all_buf(&mut headers).await?;
    to.shutdown().await
}

/// Waits until a request is not answered in time.
async fn watch(waiting: &Waiting, deadline: Duration) -> Error {
    loop {
        let next = waiting.first_deadline();
        // What is asked from now on has at least that long.
        sleep_until(next.unwrap_or_else(|| Instant::now() + deadline)).await;
        if waiting.first_deadline().is_some_and(|first| first <= Instant::now()) {
            return Error::unavailable(format!("the server did not answer within {} s", deadline.as_secs_f64()));
        }
    }
}
