//! Ctrl-C.

use std::future::Future;

use stillpoint_model::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears Ctrl-C from its creation on, so that none is lost between a job's first record and its run. Before that the
/// signal ends the process as it does any other.
pub struct Interrupt {
    signal: Signal,
    heard: bool,
}

impl Interrupt {
    /// From now on Ctrl-C is heard here.
    pub fn listen() -> Result<Self> {
        let signal = signal(SignalKind::interrupt()).map_err(|error| Error::from(error).context("cannot listen for Ctrl-C"))?;
        Ok(Self { signal, heard: false })
    }

    /// `None` when Ctrl-C came before the end of `work`, which is then dropped.
    pub async fn until<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            _ = self.signal.recv() => {
                self.heard = true;
                None
            }
            value = work => Some(value),
        }
    }

    /// Whether Ctrl-C was pressed.
    pub const fn heard(&self) -> bool {
        self.heard
    }
}
