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
    bounded(text, FILE_BYTES_MAX, "policy file")?;
    let mut document = DeTable::parse(text).map_err(|error| hint_at_several(unreadable(text, &error)))?;
    let fields = Fields::of(document.get_ref());
    list_schedules(document.get_mut());
    let policy =
        Policy::deserialize(Deserializer::from(document)).map_err(|error| hint_at_several(refused(text, &fields, &error)))?;
    policy.check().map_err(|error| unsound(text, &fields, error))?;
    Ok(policy)
}

/// Refuses what is too large to be read at all.
pub fn bounded(text: &str, bytes_max: usize, what: &str) -> Result<(), FileError> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    let reason = format!("the file has {} bytes, more than the {bytes_max} of a {what}", text.len());
    Err(FileError { line: 1, field: String::new(), reason })
}

/// One `[schedule]` is a list of one.
pub fn list_schedules(document: &mut DeTable<'_>) {
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

/// Where the fault is that of a file with more than one policy, says so.
fn hint_at_several(mut error: FileError) -> FileError {
    let listed = ["policy", "policies"].contains(&error.field.as_str()) && error.reason.starts_with("unknown field");
    let is_whole = error.field.is_empty() || error.field == "name";
    if listed || is_whole && error.reason.starts_with("duplicate key") {
        error.reason.push_str("; one policy to a file");
    }
    error
}

/// A fault of syntax.
pub fn unreadable(text: &str, error: &toml::de::Error) -> FileError {
    let start = error.span().unwrap_or(0..0).start;
    FileError { line: line(text, start), field: assigned(text, start), reason: reason(error) }
}

/// A fault of a field's name or of its value.
pub fn refused(text: &str, fields: &Fields, error: &toml::de::Error) -> FileError {
    let span = error.span().unwrap_or(0..0);
    // The document as a whole has an empty span; every field has some text.
    let around = if span.is_empty() { "" } else { fields.at(&span) };
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
    let field = fields.spelled("", &error.field);
    let start = fields.start(&field).unwrap_or(0);
    FileError { line: line(text, start), field, reason: error.reason }
}
