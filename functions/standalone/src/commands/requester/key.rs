//! Keys of requesters: Ed25519, in PEM.

use std::{
    fs,
    path::{Path, PathBuf},
};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::{
    rand::SystemRandom,
    signature::{ED25519_PUBLIC_KEY_LEN, Ed25519KeyPair, KeyPair},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject};
use stillpoint_model::{Error, Result};

use crate::{input, keyfile};

/// Before the key itself in a `SubjectPublicKeyInfo` of Ed25519 (RFC 8410, section 4).
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// More than any key takes.
const BYTES_MAX: usize = 64 << 10;
const LINE_CHARS: usize = 64;

/// A key that was made; its file goes again unless it is kept.
pub(super) struct Made {
    path: Option<PathBuf>,
    pair: Ed25519KeyPair,
}

impl Made {
    /// Its public half, as a requester's record has it.
    pub(super) fn public(&self) -> String {
        BASE64URL_NOPAD.encode(self.pair.public_key().as_ref())
    }

    pub(super) fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            drop(fs::remove_file(path));
        }
    }
}

/// Makes a key and writes it to a new file that only its owner reads.
pub(super) fn make(path: &Path) -> Result<Made> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| Error::internal("cannot make a key"))?;
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| Error::internal("a key that was made is none"))?;
    keyfile::write_private(path, &pem(document.as_ref()))?;
    Ok(Made { path: Some(path.to_owned()), pair })
}

fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(LINE_CHARS).filter_map(|at| text.get(at..text.len().min(at + LINE_CHARS))).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", lines.join("\n"))
}

/// A requester's private key.
///
/// # Errors
/// `invalid` when the file holds none.
pub fn signing_key(path: &Path) -> Result<Ed25519KeyPair> {
    let text = input::text(path, BYTES_MAX)?;
    let wrong = || Error::invalid(format!("{} holds no Ed25519 private key in PEM (PKCS #8)", input::shown(path)));
    let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| wrong())?;
    // OpenSSL leaves the public half out.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| wrong())
}

/// A requester's public key, as its record has it.
pub(super) fn public(path: &Path) -> Result<String> {
    let text = input::text(path, BYTES_MAX)?;
    let wrong = || Error::invalid(format!("{} holds no Ed25519 public key in PEM", input::shown(path)));
    let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).map_err(|_| wrong())?;
    let key = der.strip_prefix(&SPKI_HEAD).filter(|key| key.len() == ED25519_PUBLIC_KEY_LEN).ok_or_else(wrong)?;
    Ok(BASE64URL_NOPAD.encode(key))
}
