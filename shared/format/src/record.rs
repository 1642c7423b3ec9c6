use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{Error, Result, SignatureKey};

const CONTEXT: &[u8] = b"stillpoint record v1";

/// The signed envelope of small records. The signature is over the body's exact bytes, so `jq .body` shows what was signed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    kind: &'a str,
    name: &'a str,
    signature: &'a str,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// Signs `body` as the record of `kind` that lies at `name` in the vault.
#[must_use]
pub fn seal_record<T: Serialize>(key: &SignatureKey, kind: &str, name: &str, body: &T) -> Vec<u8> {
    let raw = serde_json::value::to_raw_value(body).expect("records are plain data with string keys");
    let signature = key.mac(&[CONTEXT, kind.as_bytes(), name.as_bytes(), raw.get().as_bytes()]);
    let envelope = Envelope { kind, name, signature: &HEXLOWER.encode(signature.as_bytes()), body: &raw };
    serde_json::to_vec(&envelope).expect("records are plain data with string keys")
}

fn parse(bytes: &[u8]) -> Result<Envelope<'_>> {
    // serde would also take the fields as an array, by position.
    let object = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let envelope = object.then(|| serde_json::from_slice(bytes).ok()).flatten();
    envelope.ok_or(Error::malformed("record", "it is not a signed envelope"))
}

/// Checks the signature, kind and name, then parses the body.
///
/// # Errors
/// [`Error::Authentication`] when it was altered, is of another kind or lay under another name; [`Error::Malformed`].
pub fn open_record<T: DeserializeOwned>(key: &SignatureKey, kind: &'static str, name: &str, bytes: &[u8]) -> Result<T> {
    let envelope = parse(bytes)?;
    let expected = key.mac(&[CONTEXT, kind.as_bytes(), name.as_bytes(), envelope.body.get().as_bytes()]);
    let claimed = HEXLOWER.decode(envelope.signature.as_bytes()).unwrap_or_default();
    // blake3::Hash compares in constant time.
    let authentic = <[u8; 32]>::try_from(claimed.as_slice()).is_ok_and(|bytes| blake3::Hash::from_bytes(bytes) == expected);
    if !authentic || envelope.kind != kind || envelope.name != name {
        return Err(Error::Authentication(kind));
    }
    serde_json::from_str(envelope.body.get())
        .map_err(|_| Error::malformed(kind, "a field is unknown, missing or of a wrong type"))
}

/// Parses the body without checking the signature: for the two records that are needed to get at the key. Both are opened
/// again by [`open_record`] once the key is there.
///
/// # Errors
/// [`Error::Malformed`].
pub fn peek_record<T: DeserializeOwned>(kind: &'static str, bytes: &[u8]) -> Result<T> {
    let envelope = parse(bytes)?;
    if envelope.kind != kind {
        return Err(Error::malformed(kind, "it is a record of another kind"));
    }
    serde_json::from_str(envelope.body.get())
        .map_err(|_| Error::malformed(kind, "a field is unknown, missing or of a wrong type"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Keys, MasterKey};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        size_bytes: u64,
    }

    fn key() -> SignatureKey {
        Keys::derive(stillpoint_model::VaultId::new(ulid::Ulid::from_parts(1, 1)), &MasterKey::new([9; 32])).signature
    }

    #[test]
    fn every_flipped_byte_and_every_truncation_is_noticed() {
        let body = Body { size_bytes: 42 };
        let sealed = seal_record(&key(), "point", "points/a/b", &body);
        assert_eq!(open_record::<Body>(&key(), "point", "points/a/b", &sealed).unwrap(), body);
        for position in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[position] ^= 1;
            assert!(open_record::<Body>(&key(), "point", "points/a/b", &flipped).is_err(), "byte {position}");
            assert!(open_record::<Body>(&key(), "point", "points/a/b", &sealed[..position]).is_err(), "cut at {position}");
        }
    }

    #[test]
    fn a_record_moved_to_another_name_or_kind_is_refused() {
        let sealed = seal_record(&key(), "point", "points/a/b", &Body { size_bytes: 1 });
        assert_eq!(open_record::<Body>(&key(), "point", "points/a/c", &sealed), Err(Error::Authentication("point")));
        assert_eq!(open_record::<Body>(&key(), "item", "points/a/b", &sealed), Err(Error::Authentication("item")));
    }
}
