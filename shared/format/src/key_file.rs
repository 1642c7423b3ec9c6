use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use stillpoint_model::VaultId;

use crate::{Error, Result, SECRET_BYTES, Secret};

/// Larger files are no key files.
pub const KEY_FILE_BYTES_MAX: u64 = 4096;

/// What a key file says: which vault it is for, and the secret of one of its slots.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    stillpoint_key: u8,
    vault: VaultId,
    secret: String,
}

/// The text of a key file of `vault`, one line of JSON.
///
/// # Errors
/// [`Error::Malformed`] when the text cannot be made, which never happens.
pub fn key_file(vault: VaultId, secret: &Secret) -> Result<String> {
    let fields = Fields { stillpoint_key: 1, vault, secret: BASE64.encode(secret) };
    serde_json::to_string(&fields).map_err(|_| Error::malformed("key file", "it cannot be written as JSON"))
}

/// Reads what [`key_file`] wrote: the vault that it is for, and the secret.
///
/// # Errors
/// [`Error::Malformed`] when the text is no key file.
pub fn parse_key_file(text: &str) -> Result<(VaultId, Secret)> {
    let malformed = || Error::malformed("key file", "it is no key file");
    let fields: Fields = serde_json::from_str(text).map_err(|_| malformed())?;
    let secret = BASE64.decode(fields.secret.as_bytes()).map_err(|_| malformed())?;
    Ok((fields.vault, <[u8; SECRET_BYTES]>::try_from(secret).map_err(|_| malformed())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_comes_back_and_nothing_else_is_one() {
        let (vault, secret) = (VaultId::new(ulid::Ulid::from_parts(7, 9)), std::array::from_fn(|i| i as u8));
        let text = key_file(vault, &secret).unwrap();
        assert_eq!(parse_key_file(&format!("{text}\n")).unwrap(), (vault, secret));
        for bad in ["", "{}", &text.replace("AAEC", "AAE"), &text.replace("stillpoint_key", "key")] {
            assert!(parse_key_file(bad).is_err(), "{bad}");
        }
    }
}
