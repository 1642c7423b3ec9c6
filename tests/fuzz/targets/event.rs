//! Events.

use stillpoint_events::{Envelope, EnvelopeError, all};
use stillpoint_model::Error;

use super::{Memory, Target};
use crate::{
    attempt::{Outcome, unprintable},
    corpus,
};

pub const EVENT: Target = Target {
    name: "event",
    is_text: true,
    bytes_max: 70_000,
    inputs: 3_000,
    memory: Memory::ByInput,
    seeds: || {
        ["events/samples/valid", "events/samples/invalid"]
            .iter()
            .flat_map(|folder| corpus::tree(folder))
            .map(|(_, bytes)| bytes)
            .collect()
    },
    check,
};

/// As hosts put it into logs and dead letters.
fn line(error: EnvelopeError) -> String {
    Error::invalid("no event").with_source(error).one_line()
}

fn check(input: &[u8]) -> Outcome {
    let envelope = Envelope::parse(input).map_err(line)?;
    let mut opened = None;
    for description in all() {
        match (description.reopen)(envelope.clone()) {
            Ok(again) => {
                assert_eq!(description.event_type, envelope.event_type);
                let bytes = serde_json::to_vec(&again).expect("an event can be written");
                let parsed = Envelope::parse(&bytes).ok();
                assert_eq!(parsed.as_ref(), Some(&again));
                assert_eq!(parsed.and_then(|parsed| (description.reopen)(parsed).ok()), Some(again));
                opened = Some(description.event_type);
            }
            Err(error) if description.event_type == envelope.event_type => return Err(line(error)),
            Err(error) => assert_eq!(unprintable(&line(error)), None),
        }
    }
    opened.map(str::to_owned).ok_or_else(|| "a type that nobody knows".to_owned())
}
