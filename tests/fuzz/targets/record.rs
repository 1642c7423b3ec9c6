//! Signed records: their envelope, and bodies that a writer with the key could sign.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use stillpoint_fleet::{SettledSlot, Tick};
use stillpoint_format::{KeySlot, open_record, peek_record, seal_record};
use stillpoint_jobs::{BackupPlan, Decision, LedgerRecord, Marker, Plan, Rotation, Transferred};
use stillpoint_vault::{Alarm, Collection, Identity, Item, Mark, Point, PolicyRecord, Settings, Waits};

use super::{Memory, Target, files, text};
use crate::{attempt::Outcome, corpus, sealing::keys};

const NAME: &str = "points/web-01/01M82F1K1G1QZHN76V01SPE78D/point.json";

pub const ENVELOPE: Target = Target {
    name: "record",
    is_text: true,
    bytes_max: 16 * 1024,
    inputs: 5_000,
    memory: Memory::ByInput,
    seeds: envelopes,
    check: envelope,
};

pub const BODY: Target = Target {
    name: "record_of_a_writer",
    is_text: true,
    bytes_max: 16 * 1024,
    inputs: 2_000,
    memory: Memory::Fixed(4 << 20),
    seeds: bodies,
    check: body,
};

/// Bodies of the golden vaults' records, and of the kinds that these lack.
fn bodies() -> Vec<Vec<u8>> {
    let records = corpus::tree("shared/format/testdata/v1").into_iter();
    let golden = records.filter_map(|(_, bytes)| {
        let record: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        record.get("signature")?;
        Some(record["body"].to_string().into_bytes())
    });
    // A plan or marker of a whole disk says no more than a short one.
    let short = golden.filter(|body| body.len() <= 4096);
    short.chain(OTHERS.map(|body| body.as_bytes().to_vec())).collect()
}

const OTHERS: [&str; 11] = [
    r#"{"policy":{"name":"daily","applies_to":{"names":["web-01"],"tags":{"env":"prod"}},"schedule":[{"daily":"02:30","time_zone":"Europe/Berlin","window":"2h","not_between":["08:00-18:00"]},{"every":"15m"},{"weekly":{"days":["sat"],"at":"22:00"}}],"retention":{"daily":30,"weekly":12,"keep_last":3},"consistency":{"wanted":"application","fallback":true},"limits":{"concurrent":3,"bytes_per_second":"200MiB","at":[{"between":"08:00-18:00","bytes_per_second":"20MiB"}],"instant_restore_days":2}},"written":"2026-03-23T02:30:00Z"}"#,
    r#"{"immutability":"on","undelete_days":14,"verify_days":30,"concurrent":10,"sites":{"berlin":2},"pairing":{"role":"primary","other":"file:///replica","target_seconds":3600,"retention":"all"},"clock_confirmed":"2026-03-23T02:30:00Z"}"#,
    r#"{"alarm":"slot-missed/web-01","state":"raised","at":"2026-03-23T02:30:00Z","text":"nothing ran","job":"01M82F1K1G1QZHN76V01SPE78D","points":["01M82F1K1G1QZHN76V01SPE78D"]}"#,
    r#"{"mark":"deleted","at":"2026-03-23T02:30:00Z","by":"prune","why":"its time is up","until":"2026-04-23T02:30:00Z","reasons":[{"rule":"daily","until":"2026-04-23T02:30:00Z"}],"objects":["packs/a"]}"#,
    r#"{"at":"2026-03-23T02:30:00Z","job":"01M82F1K1G1QZHN76V01SPE78D","open":[1,2],"points":[["web-01","01M82F1K1G1QZHN76V01SPE78D"]],"objects":["packs/a"]}"#,
    r#"{"at":"2026-03-23T02:30:00Z","jobs":["01M82F1K1G1QZHN76V01SPE78D"]}"#,
    r#"{"at":"2026-03-23T02:30:00Z","jobs_through":"2026-03-23T02:30:00Z","unfinished":["01M82F1K1G1QZHN76V01SPE78D"],"starts":[{"subject":"@verify","due":"2026-03-23T02:30:00Z","job":"01M82F1K1G1QZHN76V01SPE78D","request":{"what":{"operation":"verify","item":"web-01","read":{"part":3,"of":30}},"host":"a"},"late":false}],"missed":[]}"#,
    r#"{"subject":"web-01","due":"2026-03-23T02:30:00Z","at":"2026-03-23T02:31:00Z","settlement":{"settlement":"started","job":"01M82F1K1G1QZHN76V01SPE78D","late":false}}"#,
    r#"{"subject":"@prune","due":"2026-03-23T02:30:00Z","at":"2026-03-23T02:31:00Z","settlement":{"settlement":"missed","slots":3,"since":"2026-03-20T02:30:00Z"}}"#,
    r#"{"decision":"stop","attempt":"01M82F1K1G1QZHN76V01SPE78D","at":"2026-03-23T02:30:00Z","state":"failed","reason":"no disk"}"#,
    r#"{"job":"01M82F1K1G1QZHN76V01SPE78D","state":"requested","at":"2026-03-23T02:30:00Z","attempt":"01M82F1K1G1QZHN76V01SPE78D","tries":0,"failures":{"a":1},"request":{"what":{"operation":"backup","item":"web-01","wanted":"crash","keep_until":null,"slot":{"policy":"daily","due":"2026-03-23T02:30:00Z","fallback":true,"pace":{"time_zone":"UTC","bytes_per_second":"20MiB","at":[]}}},"host":"a","carrier":"broker"},"reason":null}"#,
];

fn envelopes() -> Vec<Vec<u8>> {
    let sealed = |body: Vec<u8>| {
        let body: Box<RawValue> = serde_json::from_slice(&body).expect("a body is JSON");
        seal_record(&keys().signature, "point", NAME, &body)
    };
    bodies().into_iter().filter(|body| body.len() < 1_500).take(12).map(sealed).collect()
}

fn envelope(input: &[u8]) -> Outcome {
    let opened = open_record::<Box<RawValue>>(&keys().signature, "point", NAME, input);
    let peeked = peek_record::<Box<RawValue>>("point", input);
    if let Ok(body) = &opened {
        assert_eq!(peeked.as_ref().map(|peeked| peeked.get()).ok(), Some(body.get()));
        let again = seal_record(&keys().signature, "point", NAME, body);
        let read = open_record::<Box<RawValue>>(&keys().signature, "point", NAME, &again);
        assert_eq!(read.map(|read| read.get().to_owned()), Ok(body.get().to_owned()));
        let genuine = bodies().into_iter().any(|genuine| genuine == body.get().as_bytes());
        assert!(genuine, "a body was accepted that nobody signed");
    }
    drop(peek_record::<Identity>("vault", input));
    drop(peek_record::<KeySlot>("key-slot", input));
    match (opened, peeked) {
        (Ok(_), _) => Ok("signed".to_owned()),
        (Err(error), Ok(_)) => Err(format!("{error}, though it is an envelope")),
        (Err(error), Err(other)) => Err(format!("{error}; {other}")),
    }
}

/// How far one kind of record reads a body, and why no further.
struct Reading {
    kind: &'static str,
    refusal: Option<(usize, String)>,
}

fn as_kind<T: Serialize + DeserializeOwned>(kind: &'static str, text: &str, follow: impl Fn(&T)) -> Reading {
    let raw: Result<Box<RawValue>, _> = serde_json::from_str(text);
    let parsed: Result<T, serde_json::Error> = serde_json::from_str(text);
    let Ok(raw) = raw else {
        assert!(parsed.is_err(), "a record is read of what is no JSON");
        let error = parsed.err().map(|error| (error.column(), error.to_string()));
        return Reading { kind, refusal: error };
    };
    let signed = seal_record(&keys().signature, kind, NAME, &raw);
    match (open_record::<T>(&keys().signature, kind, NAME, &signed), parsed) {
        (Ok(record), Ok(_)) => {
            let again = seal_record(&keys().signature, kind, NAME, &record);
            let read: T = open_record(&keys().signature, kind, NAME, &again).expect("what was read can be written");
            let (old, new) = (serde_json::to_value(&record).ok(), serde_json::to_value(&read).ok());
            assert!(old.is_some() && old == new, "{kind}: {old:?} became {new:?}");
            follow(&record);
            Reading { kind, refusal: None }
        }
        (Err(_), Err(error)) => Reading { kind, refusal: Some((error.column(), error.to_string())) },
        _ => panic!("{kind}: signed and unsigned bodies are read differently"),
    }
}

fn nothing<T>(_: &T) {}

fn ledger(record: &LedgerRecord) {
    if let Some(request) = &record.request {
        assert!(!request.what.subject().to_string().is_empty());
        rotation(&request.what);
    }
}

fn rotation(what: &stillpoint_jobs::Operation) {
    if let stillpoint_jobs::Operation::Verify { read: Some(read), .. } = what {
        assert!(read.of == 1 || !read.holds(NAME) || read.part < read.of.max(1));
    }
    assert!(Rotation::ALL.holds(NAME));
}

fn point(point: &Point) {
    // What readers of points do first.
    assert!(point.manifest.sections.object_bytes().is_none_or(|bytes| bytes >= 16));
    assert!(point.disks.iter().all(|disk| disk.size_bytes <= point.size_bytes()));
}

fn policy(record: &PolicyRecord) {
    if record.policy.check().is_ok() {
        files::follow(&record.policy);
    }
}

fn body(input: &[u8]) -> Outcome {
    let text = text(input)?;
    let readings = [
        as_kind::<Identity>("vault", text, nothing),
        as_kind::<KeySlot>("key-slot", text, nothing),
        as_kind::<Item>("item", text, |item| drop(item.check())),
        as_kind::<Point>("point", text, point),
        as_kind::<LedgerRecord>("job", text, ledger),
        as_kind::<Decision>("decision", text, nothing),
        as_kind::<Plan<BackupPlan>>("plan", text, nothing),
        as_kind::<Marker<Transferred>>("marker", text, nothing),
        as_kind::<PolicyRecord>("policy", text, policy),
        as_kind::<Settings>("settings", text, nothing),
        as_kind::<Alarm>("alarm", text, nothing),
        as_kind::<Mark>("mark", text, nothing),
        as_kind::<Collection>("collection", text, nothing),
        as_kind::<Waits>("collection-waits", text, nothing),
        as_kind::<Tick>("tick", text, |tick| tick.starts.iter().for_each(|start| rotation(&start.request.what))),
        as_kind::<SettledSlot>("slot", text, nothing),
    ];
    let accepted: Vec<&str> = readings.iter().filter(|reading| reading.refusal.is_none()).map(|reading| reading.kind).collect();
    if !accepted.is_empty() {
        return Ok(accepted.join(", "));
    }
    // The kind it is most likely meant to be is the one that read the furthest.
    let furthest = readings.into_iter().filter_map(|reading| Some((reading.refusal?, reading.kind))).max();
    let ((_, refusal), kind) = furthest.ok_or("no kind refused it")?;
    Err(format!("{kind}: {}", refusal.escape_debug()))
}
