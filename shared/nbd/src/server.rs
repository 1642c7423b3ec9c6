mod answers;
mod export;
mod listener;
mod negotiation;
mod requests;

use std::{sync::Arc, time::Duration};

use rustls::ServerConfig;
use stillpoint_model::{Error, Result};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

pub use export::{Export, Exports};
pub use listener::Listener;

use crate::stream::{Boxed, Stream};

/// Pause after the system could not give a connection, as when too many files are open.
const BREATH: Duration = Duration::from_millis(100);

/// How a server behaves. Memory: at most 32 MiB for each connection, besides what exports take.
#[derive(Clone)]
pub struct ServeOptions {
    /// Settings of TLS ([`server_settings`](crate::server_settings)); nobody is served without it then.
    pub tls: Option<Arc<ServerConfig>>,
    /// Connections at a time; further ones wait.
    pub connections_max: usize,
    /// Requests of one connection that are carried out at a time.
    pub in_flight: usize,
    /// How long a client may take to negotiate.
    pub handshake_deadline: Duration,
    /// How long requests under way may take after the server was told to stop.
    pub stop_deadline: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            tls: None,
            connections_max: 16,
            in_flight: 16,
            handshake_deadline: Duration::from_secs(30),
            stop_deadline: Duration::from_secs(10),
        }
    }
}

/// Serves `exports` until `stop` is ready; then no connection is taken any more, requests under way are answered, and connections
/// closed.
///
/// # Errors
/// None while it serves: troubles of single connections end those and are logged.
pub async fn serve(listener: Listener, exports: Exports, options: ServeOptions, stop: impl Future<Output = ()>) -> Result<()> {
    let (exports, options) = (Arc::new(exports), Arc::new(options));
    let places = Arc::new(Semaphore::new(options.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let (tell, told) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let (stream, place) = tokio::select! {
            () = &mut stop => break,
            next = next => next,
        };
        let Ok(stream) = stream else {
            sleep(BREATH).await;
            continue;
        };
        let (exports, options, told) = (exports.clone(), options.clone(), told.clone());
        connections.spawn(async move {
            let _place = place;
            if let Err(error) = converse(stream, &exports, &options, told).await {
                tracing::info!("a connection of an NBD client ended: {}", error.one_line());
            }
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    tell.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(options.stop_deadline, all).await.is_err() {
        connections.shutdown().await;
    }
    Ok(())
}

/// Serves one connection over a stream that is there, until the client leaves.
///
/// # Errors
/// `invalid` where the client breaks the protocol, `unavailable` where the connection is lost or the client too slow to negotiate,
/// `denied` where TLS fails.
pub async fn serve_stream(stream: impl Stream, exports: &Exports, options: &ServeOptions) -> Result<()> {
    let (_tell, told) = watch::channel(false);
    converse(Box::new(stream), exports, options, told).await
}

async fn converse(stream: Boxed, exports: &Exports, options: &ServeOptions, mut stop: watch::Receiver<bool>) -> Result<()> {
    let negotiated = timeout(options.handshake_deadline, negotiation::negotiate(stream, exports, options.tls.as_ref()));
    let agreed = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
        agreed = negotiated => agreed.map_err(|_| Error::unavailable("the client is too slow"))??,
    };
    match agreed {
        Some(agreed) => requests::serve_requests(agreed, options.in_flight, stop).await,
        None => Ok(()),
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::unavailable("the connection to the client is lost").with_source(error)
}
