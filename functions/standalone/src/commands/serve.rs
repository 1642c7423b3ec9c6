use std::{pin::pin, process::ExitCode, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{
    FutureExt, Stream,
    future::{FusedFuture, OptionFuture},
    stream,
};
use stillpoint_events::{Outgoing, TimerTicked};
use stillpoint_handler::Functions;
use stillpoint_model::{Error, Result};
use stillpoint_ports::Backlog;
use stillpoint_runtime::{Work, adopt_unfinished, host_name};

use super::{drill::scheduled::Scheduled, pair, relay, worker::stopped};
use crate::{args::ServeDrills, remote, session::Session, telling};

/// What the operator asked for.
pub struct Wanted {
    pub tick: Duration,
    pub stalled_after: Duration,
    /// Whether the functions of the vault's replica run elsewhere.
    pub without_replica: bool,
}

/// Nothing waits outside this process.
struct NoBacklog;

#[async_trait]
impl Backlog for NoBacklog {
    async fn waiting(&self) -> Result<u64> {
        Ok(0)
    }
}

/// Every function and the timer in this process, until SIGTERM.
pub async fn run(session: &Session, wanted: Wanted, drills: ServeDrills) -> Result<ExitCode> {
    if session.remote.is_some() {
        return Err(Error::invalid("serve does the work itself: leave the broker out, or run `stillpoint worker`"));
    }
    // What a dead drill was restoring is given up before the first tick takes it on.
    let drills = Scheduled::new(&session.global, drills, wanted.tick).await?;
    let (heard, news) = relay::channel();
    let mut drills = pin!(OptionFuture::from(drills.map(Scheduled::run)).fuse());
    tokio::select! {
        ended = forever(session, &wanted, heard, stream::empty()) => ended.and_then(|()| Err(Error::internal("the timer has ended"))),
        () = pair::serve_other(session, &wanted, news), if !wanted.without_replica => Err(Error::internal("the replica's timer has ended")),
        Some(()) = &mut drills => Ok(ExitCode::SUCCESS),
        // What is under way is taken on where it stopped, by whoever comes next; but a drill cleans up, which it does when it hears the same.
        () = stopped()? => {
            if !drills.is_terminated() {
                drills.await;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Every function and the timer of one vault, and those of `others`, as long as the process lives; `more` comes beside what the timer finds.
pub async fn forever(session: &Session, wanted: &Wanted, others: Functions, more: impl Stream<Item = Work>) -> Result<()> {
    let webhook = telling::receiver(&session.global)?.is_some();
    let site = remote::site(&session.global)?;
    let wiring = session.wiring(Arc::new(()));
    let schedule = stillpoint_schedule::functions(&wiring, Arc::new(NoBacklog), wanted.stalled_after);
    let host = session.host_of(others.and(session.functions(Arc::new(()))).and(schedule), session.in_flight());
    tracing::info!(%site, vault = session.vault.store().url(), webhook, "serving");
    drop(host.serve(stream::select(ticks(session, wanted.tick), more)).await);
    Ok(())
}

/// With each tick of the timer, what other processes of this machine left unfinished; the first at once.
fn ticks(session: &Session, every: Duration) -> impl Stream<Item = Work> {
    stream::unfold(true, move |first| async move {
        if !first {
            tokio::time::sleep(every).await;
        }
        let mut work = Work { events: vec![Outgoing::new(&TimerTicked {})], locks: Vec::new() };
        match adopt_unfinished(&session.engine, &host_name()).await {
            Ok(adopted) => {
                for (job, error) in &adopted.damaged {
                    tracing::error!(%job, "unfinished, and cannot be taken on: {}", error.one_line());
                }
                work.events.extend(adopted.events);
                work.locks = adopted.locks;
            }
            // The next tick looks again.
            Err(error) => tracing::warn!("{}", error.one_line()),
        }
        Some((work, false))
    })
}
