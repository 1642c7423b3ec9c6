//! Single words: names, numbers with units, times, places.

use std::{fmt::Display, str::FromStr, sync::Arc};

use stillpoint_kms::KeyArn;
use stillpoint_model::{
    AlarmKey, AttemptId, Consistency, DiskName, Error, ItemName, JobId, JobState, MarkKind, PointId, Subject,
    policy::{ByteCount, DaySpan, Interval, TimeOfDay},
};
use stillpoint_store::{Access, Environment, Store};
use stillpoint_testkit::TestClock;
use stillpoint_vault::Name;
use stillpoint_webhook::SigningSecret;

use super::{Memory, Target, text};
use crate::{
    attempt::{Outcome, unprintable},
    corpus,
};

pub const OBJECT_NAME: Target = Target {
    name: "object_name",
    is_text: true,
    bytes_max: 1024,
    inputs: 20_000,
    memory: Memory::ByInput,
    seeds: names,
    check: |input| {
        let text = text(input)?;
        let name: Name = text.parse().map_err(|error: Error| error.one_line())?;
        assert_eq!(name.to_string(), text, "two spellings of one name");
        Ok(format!("{name:?}").split(['(', ' ']).next().unwrap_or_default().to_owned())
    },
};

pub const WORD: Target = Target {
    name: "word",
    is_text: true,
    bytes_max: 1024,
    inputs: 10_000,
    memory: Memory::ByInput,
    seeds: || WORDS.iter().map(|word| word.as_bytes().to_vec()).collect(),
    check: word,
};

pub const WEBHOOK_SECRET: Target = Target {
    name: "webhook_secret",
    is_text: false,
    bytes_max: 1024,
    inputs: 10_000,
    memory: Memory::ByInput,
    seeds: || {
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "a text of four and twenty"].map(|text| text.as_bytes().to_vec()).to_vec()
    },
    check: |input| {
        let text = text(input)?;
        let secret = SigningSecret::parse(text).map_err(|error| error.one_line())?;
        assert!(!format!("{secret:?}").contains(text.trim()), "a secret is never shown");
        Ok(String::new())
    },
};

/// Opening makes no folder and sends nothing.
pub const STORE_URL: Target = Target {
    name: "store_url",
    is_text: true,
    bytes_max: 1024,
    inputs: 400,
    memory: Memory::Fixed(16 << 20),
    seeds: || URLS.iter().map(|url| url.as_bytes().to_vec()).collect(),
    check: |input| {
        let environment: Environment = std::iter::empty().collect();
        let url = text(input)?;
        Store::open_in(url, Access::Existing, &environment, Arc::new(TestClock::at(0))).map_err(|error| error.one_line())?;
        Ok(url.split(':').next().unwrap_or_default().to_ascii_lowercase())
    },
};

const WORDS: [&str; 25] = [
    "30d",
    "1h30m",
    "36525d",
    "0s",
    "200MiB",
    "1GB",
    "4096B",
    "02:30",
    "24:00",
    "08:00-18:00",
    "22:00-06:00",
    "web-01",
    "@prune",
    "@verify",
    "slot-missed/web-01",
    "point-damaged/@verify",
    "crash",
    "file-system",
    "completed",
    "cancelled",
    "deleted",
    "freed",
    "01M82F1K9CGPGECAQG8XBW4T2J",
    "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
    "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
];

const URLS: [&str; 11] = [
    "memory:///a",
    "memory:///?streams=4&requests_per_second=10&bytes_per_second=100000",
    "memory:///?bytes_per_second=10MiB&at=08:00-18:00,bytes_per_second=1MiB,streams=2;22:00-06:00,streams=8&time_zone=Europe/Berlin",
    "file:///nowhere/at/all?at=00:00-03:00,requests_per_second=5&time_zone=UTC",
    "s3://bucket/prefix?region=eu-central-1&endpoint=http://127.0.0.1:9000&path_style=true",
    "s3://bucket/prefix?storage_class=STANDARD_IA&sse=aws:kms&object_lock=true",
    "az://container/prefix?account=name",
    "abfss://container@account.dfs.core.windows.net/a",
    "gs://bucket/prefix",
    "file:///nowhere/at/all",
    "https://user:secret@host/a?b=c#d",
];

fn names() -> Vec<Vec<u8>> {
    let golden = corpus::tree("shared/format/testdata/v1").into_iter();
    let golden = golden.filter_map(|(name, _)| Some(name.split_once("/vault/")?.1.as_bytes().to_vec()));
    let more = [
        "policies/daily/000001.json",
        "settings/000002.json",
        "slots/20260323T023000Z/web-01.json",
        "slots/19700101T000000Z/@prune.json",
        "ticks/0000000007.json",
        "snapshots/web-01/01M82F1K1G1QZHN76V01SPE78D/kept-20260323T023000Z.json",
        "snapshots/web-01/01M82F1K1G1QZHN76V01SPE78D/released.json",
        "alarms/slot-missed/web-01/000001-raised.json",
        "fleet/5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e.json",
        "collect/000001.json",
        "collect/000001-waits.json",
        "collect/census/web-01/000003.json",
        "jobs/2026-11-22/01M82F1K1G1QZHN76V01SPE78D/groups/0001",
        "points/web-01/01M82F1K1G1QZHN76V01SPE78D/marks/000001-deleted.json",
    ];
    golden.chain(more.map(|name| name.as_bytes().to_vec())).collect()
}

/// Reads a word as one type, and reads what that type writes.
fn read<T: FromStr<Err = Error> + Display + PartialEq + std::fmt::Debug>(text: &str) -> Result<(), String> {
    let value: T = text.parse().map_err(|error: Error| error.one_line())?;
    let written = value.to_string();
    assert_eq!(written.parse::<T>().map_err(|error| error.one_line()), Ok(value), "{written}");
    Ok(())
}

fn word(input: &[u8]) -> Outcome {
    let text = text(input)?;
    let readings = [
        ("duration", read::<Interval>(text)),
        ("size", read::<ByteCount>(text)),
        ("time of day", read::<TimeOfDay>(text)),
        ("span", read::<DaySpan>(text)),
        ("machine", read::<ItemName>(text)),
        ("disk", read::<DiskName>(text)),
        ("subject", read::<Subject>(text)),
        ("alarm", read::<AlarmKey>(text)),
        ("consistency", read::<Consistency>(text)),
        ("state", read::<JobState>(text)),
        ("mark", read::<MarkKind>(text)),
        ("job", read::<JobId>(text)),
        ("point", read::<PointId>(text)),
        ("attempt", read::<AttemptId>(text)),
        ("key", read::<KeyArn>(text)),
    ];
    let accepted: Vec<&str> = readings.iter().filter(|(_, reading)| reading.is_ok()).map(|(what, _)| *what).collect();
    if accepted.is_empty() {
        let refusals = readings.into_iter().filter_map(|(_, reading)| reading.err());
        let faults: Vec<String> = refusals.filter_map(|refusal| unprintable(&refusal)).collect();
        assert!(faults.is_empty(), "{faults:?}");
        return Err("it is no word of any type".to_owned());
    }
    Ok(accepted.join(", "))
}
