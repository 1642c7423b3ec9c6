use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use stillpoint_model::{Error, ErrorKind, Result};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::request::{Outcome, Progress};

/// Requests of one connection that wait for their replies, and whether the connection is still good.
pub struct Waiting {
    state: Mutex<State>,
}

struct State {
    requests: BTreeMap<u64, Entry>,
    next: u64,
    over: Option<(ErrorKind, String)>,
}

/// Numbers go up with time, so the first entry of a map has the earliest deadline.
struct Entry {
    deadline: Instant,
    /// None while a reply to it is read.
    progress: Option<Progress>,
    asked: oneshot::Sender<Outcome>,
    /// Held until the reply is there, whether or not the one who asked still waits for it.
    _turn: OwnedSemaphorePermit,
}

impl State {
    fn check(&self) -> Result<()> {
        self.over.as_ref().map_or(Ok(()), |(kind, why)| Err(Error::new(*kind, why.clone())))
    }
}

impl Waiting {
    pub const fn new() -> Self {
        Self { state: Mutex::new(State { requests: BTreeMap::new(), next: 1, over: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the connection is no longer good.
    pub fn check(&self) -> Result<()> {
        self.state().check()
    }

    /// Enters a request; gives its number and where its outcome will come from.
    pub fn enter(
        &self,
        progress: Progress,
        deadline: Instant,
        turn: OwnedSemaphorePermit,
    ) -> Result<(u64, oneshot::Receiver<Outcome>)> {
        let mut state = self.state();
        state.check()?;
        let (asked, outcome) = oneshot::channel();
        let cookie = state.next;
        state.next += 1;
        state.requests.insert(cookie, Entry { deadline, progress: Some(progress), asked, _turn: turn });
        Ok((cookie, outcome))
    }

    /// Takes the request of this number out, while a reply to it is read.
    pub fn take(&self, cookie: u64) -> Option<Progress> {
        self.state().requests.get_mut(&cookie)?.progress.take()
    }

    /// Puts it back: more is to come.
    pub fn keep(&self, cookie: u64, progress: Progress) {
        if let Some(entry) = self.state().requests.get_mut(&cookie) {
            entry.progress = Some(progress);
        }
    }

    /// It is over.
    pub fn finish(&self, cookie: u64, outcome: Outcome) {
        let entry = self.state().requests.remove(&cookie);
        if let Some(entry) = entry {
            // Whoever asked may have stopped waiting.
            drop(entry.asked.send(outcome));
        }
    }

    /// When the oldest request must have been answered.
    pub fn first_deadline(&self) -> Option<Instant> {
        self.state().requests.first_key_value().map(|(_, entry)| entry.deadline)
    }

    /// Fails what waits and what will be asked.
    pub fn end(&self, error: &Error) {
        let (kind, why) = (error.kind(), error.one_line());
        let mut state = self.state();
        state.over.get_or_insert_with(|| (kind, why.clone()));
        for entry in std::mem::take(&mut state.requests).into_values() {
            drop(entry.asked.send(Err(Error::new(kind, why.clone()))));
        }
    }
}
