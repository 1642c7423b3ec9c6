//! Stillpoint's events: CloudEvents 1.0 JSON that carry ids only. Everything else is read from signed vault records, so a
//! forged, lost or repeated event can at worst cause a look. `CATALOG.md` says who emits and consumes each; `schemas/` and
//! `samples/` are generated and checked by this crate's tests.

mod catalog;
mod contract;
mod envelope;
mod function;
mod types;

pub use catalog::{Description, all, table};
pub use contract::{Contract, Outgoing};
pub use envelope::{ENVELOPE_BYTES_MAX, Envelope, EnvelopeError};
pub use function::{Function, UnknownFunction};
pub use types::{
    AlarmChanged, BackupRequested, CollectRequested, JobEnded, PruneRequested, RecoveryPointCommitted, ReplicateRequested,
    ReplicateSegmentPlanned, ReplicateSegmentsCopied, RestoreOrdered, RestoreRequested, RestoreSegmentPlanned,
    RestoreSegmentsWritten, SegmentPlanned, SegmentsTransferred, SnapshotExpired, TimerTicked, VerifyRequested,
    VerifySegmentPlanned, VerifySegmentsRead,
};
