use std::{process::ExitCode, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{Stream, stream};
use stillpoint_events::{Outgoing, TimerTicked};
use stillpoint_jobs::Carrier;
use stillpoint_model::{Error, Result};
use stillpoint_ports::Backlog;
use stillpoint_runtime::{Work, adopt_unfinished, host_name};
use stillpoint_schedule::Place;

use super::worker::stopped;
use crate::{remote, session::Session, telling};

/// What the operator asked for.
pub struct Wanted {
    pub tick: Duration,
    pub stalled_after: Duration,
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
pub async fn run(session: &Session, wanted: Wanted) -> Result<ExitCode> {
    if session.remote.is_some() {
        return Err(Error::invalid("serve does the work itself: leave the broker out, or run `stillpoint worker`"));
    }
    let webhook = telling::receiver(&session.global)?.is_some();
    let site = remote::site(&session.global)?;
    let place = Place { site: site.to_string(), host: host_name(), carrier: Carrier::Process };
    let wiring = session.wiring(Arc::new(()));
    let schedule = stillpoint_schedule::functions(&wiring, Arc::new(NoBacklog), place, wanted.stalled_after);
    let host = session.host_of(session.functions(Arc::new(())).and(schedule));
    tracing::info!(%site, vault = session.vault.store().url(), webhook, "serving");
    tokio::select! {
        ended = host.serve(ticks(session, wanted.tick)) => {
            drop(ended);
            Err(Error::internal("the timer has ended"))
        }
        // What is under way is taken on where it stopped, by whoever comes next.
        () = stopped()? => Ok(ExitCode::SUCCESS),
    }
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
