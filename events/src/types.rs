use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stillpoint_model::{AlarmKind, AlarmState, ItemName, JobId, PointId};

use crate::{Contract, catalog::Keyed};

macro_rules! event {
    ($(#[$doc:meta])* $name:ident = $type:literal { $($(#[$field_doc:meta])* $field:ident: $field_type:ty),* $(,)? }, $key:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $field_type,)*
        }

        impl Contract for $name {
            const TYPE: &'static str = $type;

            fn idempotency_key(&self) -> String {
                let Self { $($field),* } = self;
                // Not every field is part of every key.
                let _ = ($($field,)*);
                format!($key)
            }
        }

        impl Keyed for $name {
            const KEY: &'static str = $key;
        }
    };
}

event!(
    /// A minute has passed: time to look for what is due and what has stopped. Says nothing else; state is read anew.
    TimerTicked = "io.stillpoint.timer.ticked.v1" {}, "tick"
);
event!(
    /// A backup job exists and may begin.
    BackupRequested = "io.stillpoint.backup.requested.v1" {
        /// The machine.
        item: ItemName,
        /// The job.
        job: JobId,
    }, "{job}"
);
event!(
    /// A segment of a backup job's plan may be transferred.
    SegmentPlanned = "io.stillpoint.segment.planned.v1" {
        /// The job.
        job: JobId,
        /// The segment's number in the plan.
        segment: u32,
    }, "{job}/{segment}"
);
event!(
    /// Every segment of a backup job's plan has its marker.
    SegmentsTransferred = "io.stillpoint.segments.transferred.v1" {
        /// The job.
        job: JobId,
    }, "{job}"
);
event!(
    /// A recovery point was committed.
    RecoveryPointCommitted = "io.stillpoint.recovery_point.committed.v1" {
        /// The machine.
        item: ItemName,
        /// The point.
        point: PointId,
        /// The job that made it.
        job: JobId,
    }, "{point}"
);
event!(
    /// The time is over for which the snapshot of an ended backup is kept.
    SnapshotExpired = "io.stillpoint.snapshot.expired.v1" {
        /// The machine.
        item: ItemName,
        /// The job that took it.
        job: JobId,
    }, "{job}"
);
event!(
    /// A job reached an end state other than by committing a point.
    JobEnded = "io.stillpoint.job.ended.v1" {
        /// The job.
        job: JobId,
    }, "{job}"
);
event!(
    /// Another system wants a restore: the one event that carries more than ids, since nothing of it is in the vault yet. It has the word of
    /// its requester and nobody else's; what that is worth says the vault.
    RestoreOrdered = "io.stillpoint.restore.ordered.v1" {
        /// A JSON Web Token that the requester signed.
        #[schemars(length(min = 1, max = 8192))]
        order: String,
    }, "{order}"
);
event!(
    /// A restore job exists and may begin.
    RestoreRequested = "io.stillpoint.restore.requested.v1" {
        /// The job.
        job: JobId,
    }, "{job}"
);
event!(
    /// A segment of a restore job's plan may be written to its target.
    RestoreSegmentPlanned = "io.stillpoint.restore_segment.planned.v1" {
        /// The job.
        job: JobId,
        /// The segment's number in the plan.
        segment: u32,
    }, "{job}/{segment}"
);
event!(
    /// Every segment of a restore job's plan has its marker.
    RestoreSegmentsWritten = "io.stillpoint.restore_segments.written.v1" {
        /// The job.
        job: JobId,
    }, "{job}"
);
event!(
    /// A prune job exists and may begin.
    PruneRequested = "io.stillpoint.prune.requested.v1" {
        /// The job.
        job: JobId,
    }, "{job}"
);
event!(
    /// A collect job exists and may begin.
    CollectRequested = "io.stillpoint.collect.requested.v1" {
        /// The job.
        job: JobId,
    }, "{job}"
);
event!(
    /// A verify job exists and may begin.
    VerifyRequested = "io.stillpoint.verify.requested.v1" {
        /// The job.
        job: JobId,
    }, "{job}"
);
event!(
    /// A segment of a verify job's plan may be read.
    VerifySegmentPlanned = "io.stillpoint.verify_segment.planned.v1" {
        /// The job.
        job: JobId,
        /// The segment's number in the plan.
        segment: u32,
    }, "{job}/{segment}"
);
event!(
    /// Every segment of a verify job's plan has its marker.
    VerifySegmentsRead = "io.stillpoint.verify_segments.read.v1" {
        /// The job.
        job: JobId,
    }, "{job}"
);
event!(
    /// A replicate job exists and may begin.
    ReplicateRequested = "io.stillpoint.replicate.requested.v1" {
        /// The job.
        job: JobId,
    }, "{job}"
);
event!(
    /// A segment of a replicate job's plan may be copied.
    ReplicateSegmentPlanned = "io.stillpoint.replicate_segment.planned.v1" {
        /// The job.
        job: JobId,
        /// The segment's number in the plan.
        segment: u32,
    }, "{job}/{segment}"
);
event!(
    /// Every segment of a replicate job's plan has its marker.
    ReplicateSegmentsCopied = "io.stillpoint.replicate_segments.copied.v1" {
        /// The job.
        job: JobId,
    }, "{job}"
);
event!(
    /// An alarm was raised or resolved.
    AlarmChanged = "io.stillpoint.alarm.changed.v1" {
        /// What it is about.
        kind: AlarmKind,
        /// Whom it is about: a machine, or a task such as `@prune`.
        subject: String,
        /// Number of the record that says so.
        seq: u32,
        /// Whether it was raised or resolved.
        state: AlarmState,
    }, "{kind}/{subject}/{seq}"
);
