//! The files beside this crate say what the code does: schemas, catalog and samples, each in both directions.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::Value;
use stillpoint_events::{Description, ENVELOPE_BYTES_MAX, Envelope, EnvelopeError, all, table};

/// Every file of `samples/invalid/`, and part of the reason for which it is refused.
const REFUSED: [(&str, &str); 28] = [
    ("alarm-of-no-kind", "unknown variant `disk-full`"),
    ("alarm-of-no-state", "unknown variant `open`"),
    ("array", "it is not a JSON object"),
    ("attribute-twice", "duplicate field `source`"),
    ("cut-short", "EOF while parsing"),
    ("data-is-array", "its data is not a JSON object"),
    ("data-is-text", "its data is not a JSON object"),
    ("data-of-another-type", "unknown field `item`"),
    ("id-past-128-bits", "not an id in its canonical spelling"),
    ("item-empty", "must have 1 to 63 characters"),
    ("item-leaves-its-folder", "machine name '../web-01' may hold only"),
    ("item-too-long", "must have 1 to 63 characters"),
    ("item-upper-case", "machine name 'Web-01' may hold only"),
    ("lower-case-id", "not an id in its canonical spelling"),
    ("missing-attribute", "missing field `source`"),
    ("missing-data", "missing field `data`"),
    ("missing-field", "missing field `segment`"),
    ("newer-type", "the event has type 'io.stillpoint.backup.requested.v2'"),
    ("null-field", "invalid type: null"),
    ("segment-negative", "invalid value: integer `-1`"),
    ("segment-past-32-bits", "invalid value: integer `4294967296`"),
    ("segment-text", "invalid type: string \"257\""),
    ("specversion-0.3", "the event has specversion '0.3'"),
    ("text-follows", "trailing characters"),
    ("time-is-no-instant", "failed to parse"),
    ("unknown-attribute", "unknown field `subject`"),
    ("unknown-field", "unknown field `disk`"),
    ("wrong-type-name", "the event has type 'io.stillpoint.backup.request.v1'"),
];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The files of a folder: name without `.json` → text.
fn texts(name: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder(name)).expect("the folder is part of the crate");
    let text = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("the folder can be listed").path();
        let file = path.file_name().and_then(|file| file.to_str()).expect("names are text");
        let stem = file.strip_suffix(".json").unwrap_or_else(|| panic!("{name}/{file} is no .json file"));
        (stem.to_owned(), fs::read_to_string(&path).expect("the file can be read"))
    };
    entries.map(text).collect()
}

fn types() -> Vec<&'static str> {
    let mut types: Vec<&str> = all().iter().map(|event| event.event_type).collect();
    types.sort_unstable();
    types
}

/// What a consumer does: parses, and opens as the type that the event names.
fn accept(bytes: &[u8]) -> Result<Envelope<Value>, EnvelopeError> {
    let envelope = Envelope::parse(bytes)?;
    let known = all().into_iter().find(|event| event.event_type == envelope.event_type);
    let open = known.as_ref().or(all().first()).map(|event| event.reopen).expect("there are types");
    open(envelope)
}

fn whole(error: &EnvelopeError) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

#[test]
fn schemas_follow_the_types() {
    let schemas = texts("schemas");
    assert_eq!(schemas.keys().collect::<Vec<_>>(), types());
    for event in all() {
        let stale = schemas[event.event_type] != event.schema_text();
        assert!(!stale, "{} is stale: cargo run -p stillpoint-events --example regenerate", event.event_type);
    }
}

#[test]
fn the_catalog_lists_every_type_once() {
    let catalog = fs::read_to_string(folder("CATALOG.md")).unwrap();
    assert!(catalog.contains(&table()), "CATALOG.md is stale: cargo run -p stillpoint-events --example regenerate");
    for event_type in types() {
        assert_eq!(catalog.matches(&format!("| `{event_type}` |")).count(), 1, "{event_type}");
    }
    assert_eq!(catalog.lines().filter(|line| line.starts_with("| `io.stillpoint.")).count(), types().len());
}

#[test]
fn every_type_is_named_by_the_rule() {
    for event_type in types() {
        let parts: Vec<&str> = event_type.split('.').collect();
        let ["io", "stillpoint", noun, participle, "v1"] = parts[..] else { panic!("{event_type}") };
        let says_what_happened = participle.ends_with("ed") || participle.ends_with("en") || participle == "read";
        assert!(says_what_happened, "{event_type}");
        assert!(noun.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{event_type}");
    }
}

#[test]
fn every_valid_sample_is_accepted_and_comes_back_the_same() {
    let samples = texts("samples/valid");
    assert_eq!(samples.keys().collect::<Vec<_>>(), types());
    for (event_type, text) in samples {
        let accepted = accept(text.as_bytes()).unwrap_or_else(|error| panic!("{event_type}: {}", whole(&error)));
        assert_eq!(accepted.event_type, event_type);
        assert_eq!(serde_json::to_value(accepted).unwrap(), serde_json::from_str::<Value>(&text).unwrap(), "{event_type}");
    }
}

#[test]
fn no_event_opens_as_another_type() {
    for text in texts("samples/valid").values() {
        let envelope = Envelope::parse(text.as_bytes()).unwrap();
        for Description { event_type, reopen, .. } in all() {
            assert_eq!(
                reopen(envelope.clone()).is_ok(),
                envelope.event_type == event_type,
                "{} as {event_type}",
                envelope.event_type
            );
        }
    }
}

#[test]
fn every_invalid_sample_is_refused_for_its_own_fault() {
    let samples = texts("samples/invalid");
    assert_eq!(samples.keys().collect::<Vec<_>>(), REFUSED.map(|(fault, _)| fault));
    for (fault, reason) in REFUSED {
        let error = accept(samples[fault].as_bytes()).expect_err(fault);
        assert!(whole(&error).contains(reason), "{fault}: {}", whole(&error));
    }
}

#[test]
fn an_event_may_fill_its_limit_and_not_pass_it() {
    let sample = texts("samples/valid").into_values().next().expect("there are samples");
    let full = format!("{sample}{}", " ".repeat(ENVELOPE_BYTES_MAX - sample.len()));
    assert!(accept(full.as_bytes()).is_ok());
    let over = format!("{full} ");
    assert!(matches!(Envelope::parse(over.as_bytes()), Err(EnvelopeError::TooLarge(size)) if size == ENVELOPE_BYTES_MAX + 1));
}

#[test]
fn keys_are_made_of_the_data_fields_alone() {
    for event in all() {
        let schema = (event.schema)().to_value();
        let fields = schema["properties"]["data"]["properties"].as_object().cloned().unwrap_or_default();
        let named: Vec<&str> = event.key.split('{').skip(1).filter_map(|part| part.split('}').next()).collect();
        assert_eq!(named.is_empty(), fields.is_empty(), "{}", event.event_type);
        assert!(named.iter().all(|name| fields.contains_key(*name)), "{}", event.event_type);
    }
}
