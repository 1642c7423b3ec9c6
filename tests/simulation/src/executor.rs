use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
};

use stillpoint_events::{Function, Outgoing};
use stillpoint_model::Result;
use stillpoint_runtime::Settled;

use crate::broker::Delivery;

/// Whether a task has something to do.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// What became of a task.
pub(crate) enum Outcome {
    /// A message was handled.
    Settled(Settled),
    /// An operator did something.
    Acted(Result<Vec<Outgoing>>),
}

/// What a task is.
#[derive(Debug, Clone)]
pub(crate) enum Doing {
    /// It handles this.
    Handling(Delivery),
    /// An operator's command.
    Acting,
}

/// What happens to a task at a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doom {
    /// It is dropped.
    Dropped,
    /// It stands still for so many milliseconds.
    Frozen(i64),
}

type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Something that a process is doing.
pub(crate) struct Task {
    pub(crate) label: String,
    pub(crate) worker: usize,
    pub(crate) process: u64,
    pub(crate) doing: Doing,
    /// At which poll what happens to it.
    pub(crate) doom: Option<(u32, Doom)>,
    /// Until when it is not polled.
    pub(crate) still_until: i64,
    pub(crate) polls: u32,
    work: Work,
    flag: Arc<Flag>,
}

impl Task {
    pub(crate) fn new(
        label: String,
        (worker, process): (usize, u64),
        doing: Doing,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> Self {
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        Self { label, worker, process, doing, doom: None, still_until: 0, polls: 0, work: Box::pin(work), flag }
    }

    /// Whether it can go on.
    pub(crate) fn is_ready(&self, now: i64) -> bool {
        self.still_until <= now && self.flag.0.load(Relaxed)
    }

    pub(crate) fn poll(&mut self) -> Option<Outcome> {
        self.flag.0.store(false, Relaxed);
        self.polls += 1;
        let waker = Waker::from(Arc::clone(&self.flag));
        match self.work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }

    /// The function at work, if one is.
    pub(crate) const fn function(&self) -> Option<Function> {
        match &self.doing {
            Doing::Handling(delivery) => Some(delivery.function),
            Doing::Acting => None,
        }
    }
}

/// Runs something to its end that waits for nothing but itself.
pub(crate) fn block<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = work.as_mut().poll(&mut context) {
            return value;
        }
    }
}
