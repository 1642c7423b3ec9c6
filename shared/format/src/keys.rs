use std::fmt;

use ring::hkdf;
use stillpoint_model::VaultId;

use crate::ChunkId;

/// First 8 bytes of a value derived from the master key: tells which key a pack was sealed with, and nothing else.
pub type KeyId = [u8; 8];

/// The vault's master key, 32 random bytes. Exists in memory only; on disk it is wrapped in key slots.
#[derive(Clone)]
pub struct MasterKey(pub(crate) [u8; 32]);

impl MasterKey {
    /// Takes 32 bytes of randomness as a new master key.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// Signs and checks records. Enough for prune, collect and replicate; opens no data.
#[derive(Clone)]
pub struct SignatureKey([u8; 32]);

impl SignatureKey {
    /// BLAKE3, keyed, over the parts, each behind its 64-bit little-endian length.
    pub(crate) fn mac(&self, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }
}

/// The keys that follow from the master key by HKDF-SHA-256 (RFC 5869), salt = vault id, info = `stillpoint v1 <purpose>`.
#[derive(Clone)]
pub struct Keys {
    /// The vault they belong to.
    pub vault: VaultId,
    /// Signs records.
    pub signature: SignatureKey,
    chunk_id: [u8; 32],
    pub(crate) pack: [u8; 32],
    key_id: KeyId,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.vault)
    }
}

impl Keys {
    /// Derives all keys.
    #[must_use]
    pub fn derive(vault: VaultId, master: &MasterKey) -> Self {
        let salt = vault.to_bytes();
        let subkey = |purpose: &str| hkdf_sha256(&salt, &master.0, format!("stillpoint v1 {purpose}").as_bytes());
        let [a, b, c, d, e, f, g, h, ..] = subkey("key-id");
        Self {
            vault,
            signature: SignatureKey(subkey("signature")),
            chunk_id: subkey("chunk-id"),
            pack: subkey("pack"),
            key_id: [a, b, c, d, e, f, g, h],
        }
    }

    /// Names a chunk of exactly 65,536 bytes.
    #[must_use]
    pub fn chunk_id(&self, chunk: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.chunk_id, chunk).as_bytes())
    }

    /// Tells this master key from others.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }
}

struct Length32;

impl hkdf::KeyType for Length32 {
    fn len(&self) -> usize {
        32
    }
}

/// 32 bytes of HKDF-SHA-256.
pub(crate) fn hkdf_sha256(salt: &[u8], secret: &[u8], info: &[u8]) -> [u8; 32] {
    let mut output = [0; 32];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let info = [info];
    let okm = prk.expand(&info, Length32).expect("32 bytes are within HKDF-SHA-256's 255 × 32");
    okm.fill(&mut output).expect("the buffer has the length asked for");
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hkdf_matches_rfc_5869_test_case_1() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let output = hkdf_sha256(&hex("000102030405060708090a0b0c"), &[0x0b; 22], &hex("f0f1f2f3f4f5f6f7f8f9"));
        assert_eq!(output.to_vec(), hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"));
    }
}
