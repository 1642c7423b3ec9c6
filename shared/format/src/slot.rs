use data_encoding::{BASE64, Encoding, Specification};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use stillpoint_model::VaultId;

use crate::{Error, MasterKey, Result, keys::hkdf_sha256};

/// Bytes of a key file's or recovery key's secret.
pub const SECRET_BYTES: usize = 32;
const CHECK_BYTES: usize = 3;

/// What opens a slot.
pub type Secret = [u8; SECRET_BYTES];

/// The kind of secret a slot is opened with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotKind {
    /// A file beside the program.
    KeyFile,
    /// A text on paper.
    RecoveryKey,
    /// A data key that AWS KMS wrapped under a key that never leaves it.
    Kms,
}

impl SlotKind {
    const fn label(self) -> &'static str {
        match self {
            Self::KeyFile => "key-file",
            Self::RecoveryKey => "recovery-key",
            Self::Kms => "kms",
        }
    }
}

/// What a key service needs to give a slot's secret back; nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceKey {
    /// ARN of the KMS key that wrapped the secret.
    pub key: String,
    /// The secret as KMS wrapped it, base64 (`CiphertextBlob`).
    blob: String,
}

impl ServiceKey {
    /// Names the `key` and keeps the `blob` that it made.
    #[must_use]
    pub fn new(key: &str, blob: &[u8]) -> Self {
        Self { key: key.to_owned(), blob: BASE64.encode(blob) }
    }

    /// The secret as KMS wrapped it.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is not base64.
    pub fn blob(&self) -> Result<Vec<u8>> {
        BASE64.decode(self.blob.as_bytes()).map_err(|_| Error::malformed("key slot", "not base64"))
    }
}

/// The body of `keys/<seq>.json`: the master key under AES-256-GCM with a key made from the secret by HKDF-SHA-256 (salt =
/// the slot's salt, info = `stillpoint v1 slot`), nonce 0 (the key is used once), associated data = vault id, slot kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySlot {
    /// What opens it.
    pub kind: SlotKind,
    /// 16 random bytes, base64.
    salt: String,
    /// 48 bytes: the wrapped master key and its tag, base64.
    wrapped: String,
    /// Of a KMS slot, and of no other: who gives its secret back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms: Option<ServiceKey>,
}

fn slot_key(secret: &Secret, salt: &[u8]) -> LessSafeKey {
    let key = hkdf_sha256(salt, secret, b"stillpoint v1 slot");
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("the key has 32 bytes"))
}

fn associated(vault: VaultId, kind: SlotKind) -> Aad<Vec<u8>> {
    Aad::from([&vault.to_bytes(), kind.label().as_bytes()].concat())
}

impl KeySlot {
    /// Wraps `master` under a `secret` that somebody keeps; `salt` is fresh randomness. A KMS slot is made by
    /// [`KeySlot::wrap_for_service`].
    #[must_use]
    pub fn wrap(vault: VaultId, kind: SlotKind, secret: &Secret, salt: [u8; 16], master: &MasterKey) -> Self {
        let mut wrapped = master.0.to_vec();
        slot_key(secret, &salt)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), associated(vault, kind), &mut wrapped)
            .expect("32 bytes are below AES-GCM's limit");
        Self { kind, salt: BASE64.encode(&salt), wrapped: BASE64.encode(&wrapped), kms: None }
    }

    /// Wraps `master` under a `secret` that `service` gives back.
    #[must_use]
    pub fn wrap_for_service(vault: VaultId, service: ServiceKey, secret: &Secret, salt: [u8; 16], master: &MasterKey) -> Self {
        Self { kms: Some(service), ..Self::wrap(vault, SlotKind::Kms, secret, salt, master) }
    }

    /// The master key, if `secret` opens this slot.
    ///
    /// # Errors
    /// [`Error::Authentication`] for another secret or vault, [`Error::Malformed`].
    pub fn unwrap_with(&self, vault: VaultId, secret: &Secret) -> Result<MasterKey> {
        if (self.kind == SlotKind::Kms) != self.kms.is_some() {
            return Err(Error::malformed("key slot", "a KMS slot, and no other, names a KMS key"));
        }
        let decode = |text: &str| BASE64.decode(text.as_bytes()).map_err(|_| Error::malformed("key slot", "not base64"));
        let salt = decode(&self.salt)?;
        if salt.len() != 16 {
            return Err(Error::malformed("key slot", "the salt has not 16 bytes"));
        }
        let mut wrapped = decode(&self.wrapped)?;
        let plain = slot_key(secret, &salt)
            .open_in_place(Nonce::assume_unique_for_key([0; 12]), associated(vault, self.kind), &mut wrapped)
            .map_err(|_| Error::Authentication("key slot"))?;
        let bytes: [u8; 32] = plain.try_into().map_err(|_| Error::malformed("key slot", "the key has not 32 bytes"))?;
        Ok(MasterKey(bytes))
    }
}

/// Crockford's alphabet; lower case and the look-alikes O, I, L are read as what they look like.
fn base32() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    specification.translate.from.push_str("abcdefghjkmnpqrstvwxyzOoIiLl");
    specification.translate.to.push_str("ABCDEFGHJKMNPQRSTVWXYZ001111");
    specification.encoding().expect("a fixed, valid alphabet")
}

fn check_bytes(secret: &[u8]) -> [u8; CHECK_BYTES] {
    let hash = blake3::derive_key("stillpoint v1 recovery key check", secret);
    [hash[0], hash[1], hash[2]]
}

/// Writes a secret for people: 8 groups of 7 characters, base32 of the secret and 3 check bytes.
#[must_use]
pub fn recovery_key(secret: &Secret) -> String {
    let text = base32().encode(&[&secret[..], &check_bytes(secret)].concat());
    let groups: Vec<&str> = text.as_bytes().chunks(7).map(|group| std::str::from_utf8(group).expect("base32 is ASCII")).collect();
    groups.join("-")
}

/// Reads what [`recovery_key`] wrote; case, spaces and dashes do not matter.
///
/// # Errors
/// [`Error::Malformed`] when a character is wrong or missing.
pub fn parse_recovery_key(text: &str) -> Result<Secret> {
    let malformed = |reason| Error::malformed("recovery key", reason);
    let compact: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let bytes = base32().decode(compact.as_bytes()).map_err(|_| malformed("it has a wrong character or length"))?;
    let (secret, check) = bytes.split_at_checked(SECRET_BYTES).ok_or(malformed("it is too short"))?;
    if check != check_bytes(secret) {
        return Err(malformed("a character is wrong or missing"));
    }
    secret.try_into().map_err(|_| malformed("it is too short"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: VaultId = VaultId::new(stillpoint_model_ulid());

    const fn stillpoint_model_ulid() -> ulid::Ulid {
        ulid::Ulid::from_parts(7, 9)
    }

    #[test]
    fn a_slot_opens_with_its_secret_kind_and_vault_only() {
        let master = MasterKey::new([5; 32]);
        let slot = KeySlot::wrap(VAULT, SlotKind::KeyFile, &[1; 32], [2; 16], &master);
        assert_eq!(slot.unwrap_with(VAULT, &[1; 32]).unwrap().0, [5; 32]);
        assert!(slot.unwrap_with(VAULT, &[3; 32]).is_err());
        assert!(slot.unwrap_with(VaultId::new(ulid::Ulid::from_parts(8, 9)), &[1; 32]).is_err());
        let other_kind = KeySlot { kind: SlotKind::RecoveryKey, ..slot };
        assert!(other_kind.unwrap_with(VAULT, &[1; 32]).is_err());
    }

    #[test]
    fn a_kms_slot_and_no_other_names_a_kms_key() {
        let (master, service) = (MasterKey::new([5; 32]), ServiceKey::new("arn:aws:kms:eu-central-1:1:key/2", b"blob"));
        let slot = KeySlot::wrap_for_service(VAULT, service.clone(), &[1; 32], [2; 16], &master);
        assert_eq!(slot.unwrap_with(VAULT, &[1; 32]).unwrap().0, [5; 32]);
        assert_eq!(service.blob().unwrap(), b"blob");
        let nameless = KeySlot { kms: None, ..slot };
        assert!(matches!(nameless.unwrap_with(VAULT, &[1; 32]), Err(Error::Malformed { .. })));
        let plain = KeySlot::wrap(VAULT, SlotKind::KeyFile, &[1; 32], [2; 16], &master);
        let named = KeySlot { kms: Some(service), ..plain };
        assert!(matches!(named.unwrap_with(VAULT, &[1; 32]), Err(Error::Malformed { .. })));
    }

    #[test]
    fn a_recovery_key_survives_careless_typing_but_no_wrong_character() {
        let secret: Secret = std::array::from_fn(|i| (i * 37) as u8);
        let text = recovery_key(&secret);
        assert_eq!(text.len(), 8 * 7 + 7);
        assert_eq!(parse_recovery_key(&text).unwrap(), secret);
        assert_eq!(
            parse_recovery_key(&text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l")).unwrap(),
            secret
        );
        for position in (0..text.len()).filter(|p| text.as_bytes()[*p] != b'-') {
            let mut wrong = text.clone().into_bytes();
            wrong[position] = if wrong[position] == b'7' { b'8' } else { b'7' };
            assert!(parse_recovery_key(std::str::from_utf8(&wrong).unwrap()).is_err(), "{position}");
        }
        assert!(parse_recovery_key("").is_err());
    }
}
