use serde::Deserialize;
use stillpoint_model::policy::{Policy, PolicyError};
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue, Deserializer},
};

use crate::{
    FileError,
    place::{Fields, assigned, line},
};

/// Largest policy file: room for a thousand names and tags.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// The policy of a file, checked.
///
/// # Errors
/// The first fault, with its line, its field and the reason: of the syntax, then of unknown and missing fields and their values,
/// then of the relations between them ([`Policy::check`]).
pub fn from_toml(text: &str) -> Result<Policy, FileError> {
    if text.len() > FILE_BYTES_MAX {
        let reason = format!("the file has {} bytes, more than the {FILE_BYTES_MAX} of a policy file", text.len());
        return Err(FileError { line: 1, field: String::new(), reason });
    }
    let mut document = DeTable::parse(text).map_err(|error| unreadable(text, &error))?;
    let fields = Fields::of(document.get_ref());
    list_schedules(document.get_mut());
    let policy = Policy::deserialize(Deserializer::from(document)).map_err(|error| refused(text, &fields, &error))?;
    policy.check().map_err(|error| unsound(text, &fields, error))?;
    Ok(policy)
}

/// One `[schedule]` is a list of one.
fn list_schedules(document: &mut DeTable<'_>) {
    if let Some(schedule) = document.get_mut("schedule")
        && schedule.get_ref().is_table()
    {
        let span = schedule.span();
        let only = std::mem::replace(schedule, Spanned::new(span, DeValue::Array(DeArray::new())));
        if let DeValue::Array(list) = schedule.get_mut() {
            list.push(only);
        }
    }
}

/// A fault of syntax.
fn unreadable(text: &str, error: &toml::de::Error) -> FileError {
    let start = error.span().unwrap_or(0..0).start;
    FileError { line: line(text, start), field: assigned(text, start), reason: reason(error) }
}

/// A fault of a field's name or of its value.
fn refused(text: &str, fields: &Fields, error: &toml::de::Error) -> FileError {
    let span = error.span().unwrap_or(0..0);
    let around = fields.at(&span);
    let missing = error.message().strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    let field = match missing {
        Some(missing) if around.is_empty() => missing.to_owned(),
        Some(missing) => format!("{around}.{missing}"),
        None => around.to_owned(),
    };
    FileError { line: line(text, span.start), field, reason: reason(error) }
}

fn reason(error: &toml::de::Error) -> String {
    error.message().lines().collect::<Vec<_>>().join(", ")
}

/// A fault between values.
fn unsound(text: &str, fields: &Fields, error: PolicyError) -> FileError {
    let field = fields.spelled(error.field);
    let start = fields.start(&field).unwrap_or(0);
    FileError { line: line(text, start), field, reason: error.reason }
}
