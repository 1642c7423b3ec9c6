use std::{process::ExitCode, sync::Arc, time::Duration};

use stillpoint_broker::{Worker, WorkerOptions};
use stillpoint_events::Function;
use stillpoint_model::{Error, Result};
use stillpoint_runtime::Dispatcher;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    remote,
    session::{Session, system},
    telling,
};

/// What the operator asked for.
pub struct Wanted {
    pub functions: Vec<Function>,
    pub tick: Duration,
    pub stalled_after: Duration,
    pub patience: Duration,
}

pub async fn run(session: &Session, wanted: Wanted) -> Result<ExitCode> {
    let Some(broker) = remote::broker(&session.global)? else {
        return Err(Error::invalid("which broker? give --broker amqp://user:password@host:port/vhost or set STILLPOINT_BROKER"));
    };
    let webhook = telling::receiver(&session.global)?.is_some();
    let mut functions = wanted.functions;
    functions.sort_unstable();
    functions.dedup();
    let site = remote::site(&session.global)?;
    tracing::info!(%site, ?functions, broker = broker.shown(), webhook, "worker");
    let publisher = remote::publisher(broker, site.clone(), "stillpoint/worker");
    let schedule =
        stillpoint_schedule::functions(&session.wiring(Arc::new(())), Arc::new(publisher.clone()), wanted.stalled_after);
    // Also where the vault is no replica, or none any more: what lies in the queue still is then heard, and comes to nothing.
    let follow = stillpoint_replicate::follow(&session.wiring(Arc::new(())));
    let is_replica = functions.contains(&Function::Replicate) && session.vault.settings().await?.is_replica();
    let handlers = session.functions(Arc::new(())).and(schedule).and(follow);
    let dispatcher = Dispatcher::new(session.engine.clone(), handlers, system().0);
    let options = WorkerOptions {
        functions,
        in_flight: session.in_flight(),
        prefetch: None,
        is_replica,
        tick: wanted.tick,
        patience: wanted.patience,
    };
    let stop = stopped()?;
    Worker::new(publisher, dispatcher, options).run(stop).await?;
    Ok(ExitCode::SUCCESS)
}

/// Ends with SIGTERM or Ctrl-C.
pub fn stopped() -> Result<impl Future<Output = ()>> {
    let cannot = |error: std::io::Error| Error::from(error).context("cannot listen for signals");
    let mut terminated = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(cannot)?;
    Ok(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    })
}
