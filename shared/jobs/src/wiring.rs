use std::sync::Arc;

use stillpoint_ports::{Cpu, Platforms, Progress, Target};

use stillpoint_vault::Regions;

use crate::{Engine, Place};

/// The ports of all functions; each takes those it is allowed to use.
#[derive(Clone)]
pub struct Wiring {
    /// Jobs and vault.
    pub engine: Engine,
    /// Where jobs run that a function begins.
    pub place: Place,
    /// Where machines are read.
    pub platforms: Platforms,
    /// Where restores are written.
    pub target: Arc<dyn Target>,
    /// Where computing is done.
    pub cpu: Arc<dyn Cpu>,
    /// Who is told how far jobs are.
    pub progress: Arc<dyn Progress>,
    /// How the other half of a pair is reached.
    pub regions: Arc<dyn Regions>,
    /// zstd level of chunk frames.
    pub level: i32,
}
