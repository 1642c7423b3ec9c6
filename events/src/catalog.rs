use schemars::{Schema, generate::SchemaSettings, transform::transform_subschemas};
use serde_json::Value;

use crate::{
    AlarmChanged, BackupRequested, CollectRequested, Contract, Envelope, EnvelopeError, Function, JobEnded, PruneRequested,
    RecoveryPointCommitted, ReplicateRequested, ReplicateSegmentPlanned, ReplicateSegmentsCopied, RestoreOrdered,
    RestoreRequested, RestoreSegmentPlanned, RestoreSegmentsWritten, SegmentPlanned, SegmentsTransferred, SnapshotExpired,
    TimerTicked, VerifyRequested, VerifySegmentPlanned, VerifySegmentsRead,
};

/// The pattern behind [`Contract::idempotency_key`], as the type's definition states it.
pub(crate) trait Keyed {
    const KEY: &'static str;
}

/// What the catalog says of one type of event.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// The CloudEvents `type`.
    pub event_type: &'static str,
    /// Who publishes it.
    pub emitted_by: &'static str,
    /// The functions whose queues it reaches.
    pub consumers: &'static [Function],
    /// The functions of the vault's replica that follow it besides, from whatever site it comes. No site's queues are bound for it: where
    /// there is no replica, nothing may lie there that nobody takes.
    pub followers: &'static [Function],
    /// [`Contract::idempotency_key`] with the fields' names in braces.
    pub key: &'static str,
    /// JSON Schema of the envelope with this type's data.
    pub schema: fn() -> Schema,
    /// Opens an envelope as this type and gives its data back as it would be published again.
    pub reopen: fn(Envelope) -> Result<Envelope<Value>, EnvelopeError>,
}

/// Every type of event, in the order in which a backup and then a restore publish them, then those of the vault's tasks; the timer last.
#[must_use]
pub fn all() -> Vec<Description> {
    vec![
        describe::<BackupRequested>("`schedule`, the command line", &[Function::Snapshot]),
        describe::<SegmentPlanned>("`snapshot`", &[Function::Transfer]),
        describe::<SegmentsTransferred>("`transfer`, `snapshot` (nothing to transfer)", &[Function::Commit]),
        Description {
            followers: &[Function::Replicate],
            ..describe::<RecoveryPointCommitted>("`commit`", &[Function::Snapshot])
        },
        describe::<SnapshotExpired>("`schedule`, the command line", &[Function::Snapshot]),
        describe::<JobEnded>("the host, `jobs`", &[Function::Snapshot, Function::Restore]),
        describe::<RestoreOrdered>("other systems", &[Function::Restore]),
        describe::<RestoreRequested>("the command line, `restore` (ordered)", &[Function::Restore]),
        describe::<RestoreSegmentPlanned>("`restore`", &[Function::Restore]),
        describe::<RestoreSegmentsWritten>("`restore`", &[Function::Restore]),
        describe::<PruneRequested>("`schedule`, the command line", &[Function::Prune]),
        describe::<CollectRequested>("`schedule`, the command line", &[Function::Collect]),
        describe::<VerifyRequested>("`schedule`, the command line", &[Function::Verify]),
        describe::<VerifySegmentPlanned>("`verify`", &[Function::Verify]),
        describe::<VerifySegmentsRead>("`verify`", &[Function::Verify]),
        describe::<ReplicateRequested>("`schedule`, the command line", &[Function::Replicate]),
        describe::<ReplicateSegmentPlanned>("`replicate`", &[Function::Replicate]),
        describe::<ReplicateSegmentsCopied>("`replicate`", &[Function::Replicate]),
        describe::<AlarmChanged>("`schedule`, `prune`, `verify`", &[Function::Notify]),
        describe::<TimerTicked>("EventBridge Scheduler, a worker's own timer", &[Function::Schedule]),
    ]
}

fn describe<E: Contract + Keyed>(emitted_by: &'static str, consumers: &'static [Function]) -> Description {
    Description {
        event_type: E::TYPE,
        emitted_by,
        consumers,
        followers: &[],
        key: E::KEY,
        schema: schema::<E>,
        reopen: reopen::<E>,
    }
}

/// The envelope's schema with the data's in its place, and `type` pinned.
fn schema<E: Contract>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut generator = settings.with_transform(bound).into_generator();
    let event = generator.root_schema_for::<E>();
    let mut schema = generator.into_root_schema_for::<Envelope<E>>();
    if let Some(meaning) = event.get("description") {
        schema.insert("description".to_owned(), meaning.clone());
    }
    if let Some(pinned) = schema.pointer_mut("/properties/type").and_then(Value::as_object_mut) {
        pinned.insert("const".to_owned(), E::TYPE.into());
    }
    schema.insert("title".to_owned(), E::TYPE.into());
    schema
}

/// Says in numbers what `format: uint32` says to those who know the format.
fn bound(schema: &mut Schema) {
    transform_subschemas(&mut bound, schema);
    if schema.get("format").and_then(Value::as_str) == Some("uint32") {
        schema.insert("maximum".to_owned(), u32::MAX.into());
    }
}

fn reopen<E: Contract>(envelope: Envelope) -> Result<Envelope<Value>, EnvelopeError> {
    let Envelope { specversion, id, source, event_type, time, traceparent, data } = envelope.open::<E>()?;
    Ok(Envelope { specversion, id, source, event_type, time, traceparent, data: serde_json::to_value(data)? })
}

impl Description {
    /// Text of `schemas/<type>.json`.
    #[must_use]
    pub fn schema_text(&self) -> String {
        format!("{:#}\n", (self.schema)().to_value())
    }

    /// One line of the catalog.
    fn row(&self) -> String {
        let Self { event_type, emitted_by, consumers, followers, key, .. } = self;
        let followers = followers.iter().map(|function| format!("`{function}` (of the replica)"));
        let consumed_by =
            consumers.iter().map(|function| format!("`{function}`")).chain(followers).collect::<Vec<_>>().join(", ");
        let schema = (self.schema)().to_value();
        let meaning = schema["description"].as_str().unwrap_or_default();
        let names = schema.pointer("/properties/data/required").and_then(Value::as_array);
        let fields: Vec<String> = names.into_iter().flatten().filter_map(Value::as_str).map(|name| format!("`{name}`")).collect();
        format!("| `{event_type}` | {meaning} | {} | {emitted_by} | {consumed_by} | `{key}` |\n", fields.join(", "))
    }
}

/// The table of `CATALOG.md`: one line per type.
#[must_use]
pub fn table() -> String {
    let head = "| type | says | data | emitted by | consumed by | idempotency key |\n|---|---|---|---|---|---|\n";
    all().iter().map(Description::row).fold(head.to_owned(), |table, row| table + &row)
}
