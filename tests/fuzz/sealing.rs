//! A writer that has the vault's key and writes what it likes: chapters "Keys" and "Packs" of `SPEC.md` once more, so that what
//! lies behind authentication is reached.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
};
use stillpoint_format::{Keys, MasterKey, PackRef};
use stillpoint_model::VaultId;
use ulid::Ulid;

const MASTER: [u8; 32] = [9; 32];
/// The number that an index is sealed under.
pub const INDEX: u32 = u32::MAX;

/// What a frame is sealed as.
#[derive(Clone, Copy)]
pub enum Sealed {
    Chunks = 1,
    Page = 2,
    Index = 3,
}

pub fn vault() -> VaultId {
    VaultId::new(Ulid::from_parts(1_774_224_000_000, 1))
}

pub fn keys() -> Keys {
    Keys::derive(vault(), &MasterKey::new(MASTER))
}

pub fn pack() -> PackRef {
    let name = "packs/web-01/01M82F1K9CGPGECAQG8XBW4T2J/0000/000000-01M82F1KDD5GAWD8B1YG80XN4E-0000";
    PackRef { name: name.into(), salt: [3; 16] }
}

struct Length32;

impl hkdf::KeyType for Length32 {
    fn len(&self) -> usize {
        32
    }
}

fn derived(salt: &[u8], secret: &[u8], info: &[u8]) -> [u8; 32] {
    let (mut key, info) = ([0; 32], [info]);
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    prk.expand(&info, Length32).and_then(|okm| okm.fill(&mut key)).expect("32 bytes can be derived");
    key
}

/// Seals a container as a frame of [`pack`].
pub fn seal(kind: Sealed, number: u32, container: &[u8]) -> Vec<u8> {
    let (vault, pack) = (vault().to_bytes(), pack());
    let info = [b"stillpoint v1 frames ", pack.name.as_bytes()].concat();
    let key = derived(&pack.salt, &derived(&vault, &MASTER, b"stillpoint v1 pack"), &info);
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("a key of 32 bytes"));
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    let associated = [&vault[..], &[kind as u8], &number.to_le_bytes(), pack.name.as_bytes()].concat();
    let mut sealed = container.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut sealed)
        .expect("a short container");
    sealed
}

/// A container that holds `plain` as it is.
pub fn raw(plain: &[u8]) -> Vec<u8> {
    [&[0], &(plain.len() as u32).to_le_bytes()[..], plain].concat()
}

/// Some byte strings as one input, each behind its length.
pub fn join(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u32).to_le_bytes()[..], part].concat()).collect()
}

/// The parts of an input, whatever became of their lengths.
pub fn split(input: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), input);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = (u32::from_le_bytes(*length) as usize).min(after.len());
        let (part, after) = after.split_at(length);
        parts.push(part);
        rest = after;
    }
    parts
}
