//! Everything a handler needs from outside, as narrow traits: time, randomness, processors, the platform that runs a
//! machine, the place a restore writes to, and whoever is told of alarms. Adapters implement them; the simulator implements
//! them in one thread.

mod backlog;
mod clock;
mod cpu;
mod key_service;
mod messenger;
mod platform;
mod platforms;
mod progress;
mod random;
mod target;

pub use backlog::Backlog;
pub use clock::Clock;
pub use cpu::{Cpu, Work, execute};
pub use key_service::{DataKey, KeyService, ServiceSecret};
pub use messenger::{Messenger, Notice};
pub use platform::{
    Baseline, DiskReader, DiskSnapshot, DiskSource, Ending, FirmwareVariables, FoundDisk, Holding, MachineSource, Platform,
    Since, Snapshot, SnapshotRequest, TrackingReset, bytes_by_page,
};
pub use platforms::Platforms;
pub use progress::Progress;
pub use random::{Random, ulid};
pub use target::{DiskWriter, Target, TargetDisk, TargetLimits};
