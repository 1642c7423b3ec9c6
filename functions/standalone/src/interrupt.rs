//! Ctrl-C.

use std::future::Future;

use stillpoint_model::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears Ctrl-C from its creation on, so that none is lost between a job's first record and its run. Before that the
/// signal ends the process as it does any other.
pub struct Interrupt {
    interrupted: Signal,
    /// Services end with SIGTERM as well.
    terminated: Option<Signal>,
    heard: bool,
}

impl Interrupt {
    /// From now on Ctrl-C is heard here.
    pub fn listen() -> Result<Self> {
        Ok(Self { interrupted: heard_as(SignalKind::interrupt(), "Ctrl-C")?, terminated: None, heard: false })
    }

    /// From now on Ctrl-C and SIGTERM are heard here.
    pub fn of_service() -> Result<Self> {
        Ok(Self { terminated: Some(heard_as(SignalKind::terminate(), "SIGTERM")?), ..Self::listen()? })
    }

    /// `None` when the signal came before the end of `work`, which is then dropped.
    pub async fn until<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let Self { interrupted, terminated, heard } = self;
        let terminated = async {
            match terminated {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = interrupted.recv() => *heard = true,
            () = terminated => *heard = true,
            value = work => return Some(value),
        }
        None
    }

    /// Whether the signal came.
    pub const fn heard(&self) -> bool {
        self.heard
    }
}

fn heard_as(kind: SignalKind, name: &str) -> Result<Signal> {
    signal(kind).map_err(|error| Error::from(error).context(format!("cannot listen for {name}")))
}
