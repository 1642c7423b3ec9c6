use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::{COMPRESSION_LEVEL_DEFAULT, Error, FrameKind, Keys, PackKey, PackRef, Result, SALT_BYTES, compress, limits};

/// The one frame of a sealed text.
const NUMBER: u32 = 0;

/// A text that a record holds and that nobody may read who has the signature key only. Sealed as the one frame of a pack would be that
/// had the record's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedText {
    /// Salt of its key, base64.
    pub salt: String,
    /// The sealed container, base64.
    pub sealed: String,
}

impl SealedText {
    /// Seals `text` for `name`; `salt` is random.
    ///
    /// # Errors
    /// [`Error::Limit`] when it has more than [`limits::SEALED_TEXT_BYTES_MAX`] bytes.
    pub fn seal(keys: &Keys, name: &str, salt: [u8; SALT_BYTES], text: &str) -> Result<Self> {
        if text.len() > limits::SEALED_TEXT_BYTES_MAX {
            return Err(Error::Limit { structure: "sealed text", limit: "256 KiB" });
        }
        let container = compress(text.as_bytes(), COMPRESSION_LEVEL_DEFAULT, &mut Vec::new())?;
        let sealed = key(keys, name, salt).seal(FrameKind::Text, NUMBER, container);
        Ok(Self { salt: BASE64.encode(&salt), sealed: BASE64.encode(&sealed) })
    }

    /// Opens what was sealed for `name`.
    ///
    /// # Errors
    /// [`Error::Authentication`] when it was changed or is another's; [`Error::Malformed`]; [`Error::Limit`].
    pub fn open(&self, keys: &Keys, name: &str) -> Result<String> {
        let malformed = |what| Error::malformed("sealed text", what);
        let bytes = |text: &str| BASE64.decode(text.as_bytes()).map_err(|_| malformed("not base64"));
        let salt = bytes(&self.salt)?.try_into().map_err(|_| malformed("wrong length of its salt"))?;
        let plain = key(keys, name, salt).open(FrameKind::Text, NUMBER, &bytes(&self.sealed)?, limits::SEALED_TEXT_BYTES_MAX)?;
        String::from_utf8(plain).map_err(|_| malformed("not UTF-8"))
    }
}

fn key(keys: &Keys, name: &str, salt: [u8; SALT_BYTES]) -> PackKey {
    PackKey::new(keys, &PackRef { name: name.into(), salt })
}

#[cfg(test)]
mod tests {
    use stillpoint_model::VaultId;
    use ulid::Ulid;

    use super::*;
    use crate::MasterKey;

    fn keys(master: u8) -> Keys {
        Keys::derive(VaultId::new(Ulid::from_parts(1, 1)), &MasterKey::new([master; 32]))
    }

    #[test]
    fn only_the_same_key_and_name_open_a_text() {
        let sealed = SealedText::seal(&keys(1), "points/a/b", [7; SALT_BYTES], "<domain/>").unwrap();
        assert_eq!(sealed.open(&keys(1), "points/a/b").unwrap(), "<domain/>");
        assert!(!serde_json::to_string(&sealed).unwrap().contains("domain"));
        assert!(matches!(sealed.open(&keys(2), "points/a/b"), Err(Error::Authentication(_))));
        assert!(matches!(sealed.open(&keys(1), "points/a/c"), Err(Error::Authentication(_))));
        let other = SealedText { sealed: format!("AAAA{}", &sealed.sealed[4..]), ..sealed.clone() };
        assert!(matches!(other.open(&keys(1), "points/a/b"), Err(Error::Authentication(_))));
        let short = SealedText { salt: "AAAA".to_owned(), ..sealed };
        assert!(matches!(short.open(&keys(1), "points/a/b"), Err(Error::Malformed { .. })));
    }
}
