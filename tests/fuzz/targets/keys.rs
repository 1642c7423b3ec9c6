//! What opens a vault.

use serde_json::json;
use stillpoint_format::{KeySlot, MasterKey, ServiceKey, SlotKind, key_file, parse_key_file, parse_recovery_key, recovery_key};
use stillpoint_kms::KeyArn;

use super::{Memory, Target, text};
use crate::{
    attempt::Outcome,
    sealing::{keys, vault},
};

const SECRET: [u8; 32] = [1; 32];

pub const KEY_FILE: Target = Target {
    name: "key_file",
    is_text: true,
    bytes_max: 4096,
    inputs: 5_000,
    memory: Memory::ByInput,
    seeds: || [SECRET, [255; 32]].iter().map(|secret| key_file(vault(), secret).expect("a key file").into_bytes()).collect(),
    check: |input| {
        let (vault, secret) = parse_key_file(text(input)?).map_err(|error| error.to_string())?;
        let again = key_file(vault, &secret).expect("what was read can be written");
        assert_eq!(parse_key_file(&again), Ok((vault, secret)));
        Ok(String::new())
    },
};

pub const RECOVERY_KEY: Target = Target {
    name: "recovery_key",
    is_text: false,
    bytes_max: 4096,
    inputs: 10_000,
    memory: Memory::ByInput,
    seeds: || vec![recovery_key(&SECRET).into_bytes(), recovery_key(&[200; 32]).to_lowercase().replace('-', " ").into_bytes()],
    check: |input| {
        let secret = parse_recovery_key(text(input)?).map_err(|error| error.to_string())?;
        assert_eq!(parse_recovery_key(&recovery_key(&secret)), Ok(secret));
        Ok(String::new())
    },
};

pub const KEY_SLOT: Target = Target {
    name: "key_slot",
    is_text: true,
    bytes_max: 8192,
    inputs: 5_000,
    memory: Memory::ByInput,
    seeds: slots,
    check: slot,
};

fn master() -> MasterKey {
    MasterKey::new([9; 32])
}

fn slots() -> Vec<Vec<u8>> {
    let wrapped = |kind| KeySlot::wrap(vault(), kind, &SECRET, [2; 16], &master());
    let service = ServiceKey::new("arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", b"blob");
    let of_service = KeySlot::wrap_for_service(vault(), service, &SECRET, [2; 16], &master());
    [wrapped(SlotKind::KeyFile), wrapped(SlotKind::RecoveryKey), of_service]
        .iter()
        .map(|slot| json!(slot).to_string().into_bytes())
        .collect()
}

fn slot(input: &[u8]) -> Outcome {
    // Who opens a vault repeats nothing of this message.
    let slot: KeySlot = serde_json::from_slice(input).map_err(|error| error.to_string().escape_debug().to_string())?;
    if let Some(service) = &slot.kms {
        let arn = service.key.parse::<KeyArn>().map_err(|error| error.one_line())?;
        assert_eq!(arn.to_string().parse::<KeyArn>().ok(), Some(arn));
        service.blob().map_err(|error| error.to_string())?;
    }
    let again: KeySlot = serde_json::from_value(json!(slot)).expect("what was read can be written");
    assert_eq!(again, slot);
    let opened = slot.unwrap_with(vault(), &SECRET).map_err(|error| error.to_string())?;
    let opened = stillpoint_format::Keys::derive(vault(), &opened);
    assert_eq!(opened.key_id(), keys().key_id(), "a slot opened to another key");
    Ok(String::new())
}
