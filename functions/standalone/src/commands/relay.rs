//! What the primary's functions commit is told to those of its replica, where one process runs both.

use std::sync::Arc;

use futures_util::stream::{self, Stream};
use stillpoint_events::{Envelope, Function, RecoveryPointCommitted};
use stillpoint_handler::{Effects, Functions, Handler, Invocation};
use stillpoint_model::Result;
use stillpoint_replicate::Follow;
use stillpoint_runtime::Work;
use tokio::sync::mpsc::{Receiver, Sender, channel as bounded};

use crate::session::Session;

/// Points that wait to be followed. What finds no room is found by the replica's timer; so is everything where nobody listens.
const WAITING_MAX: usize = 256;

/// Points as they are committed.
pub type News = Receiver<RecoveryPointCommitted>;

struct Relay(Sender<RecoveryPointCommitted>);

impl Handler for Relay {
    type Event = RecoveryPointCommitted;

    async fn handle(&self, event: Envelope<RecoveryPointCommitted>, _invocation: &Invocation) -> Result<Effects> {
        drop(self.0.try_send(event.data));
        Ok(Effects::none())
    }
}

/// What listens among the primary's functions, and what is heard.
pub fn channel() -> (Functions, News) {
    let (sender, news) = bounded(WAITING_MAX);
    (Functions::default().with(Function::Replicate, Relay(sender)), news)
}

/// What `replica` does about what is heard. Its host is not handed the event: that is about a job of the primary's, whose lock is held by the
/// primary's host at this moment.
pub fn follow(replica: &Session, news: &mut News) -> impl Stream<Item = Work> {
    let follow = Follow::new(&replica.wiring(Arc::new(())));
    stream::unfold((follow, news), |(follow, news)| async move {
        let committed = news.recv().await?;
        let work = Work { events: follow.events(&committed).await, locks: Vec::new() };
        Some((work, (follow, news)))
    })
}
