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
    /// [`Error::Limit`] when it has more than [`limits::SEALED_TEXT_BYTES_MAX`] bytes, or more than
    /// [`limits::SEALED_TEXT_STORED_BYTES_MAX`] once compressed and sealed.
    pub fn seal(keys: &Keys, name: &str, salt: [u8; SALT_BYTES], text: &str) -> Result<Self> {
        if text.len() > limits::SEALED_TEXT_BYTES_MAX {
            return Err(Error::Limit { structure: "sealed text", limit: "24 MiB" });
        }
        let container = compress(text.as_bytes(), COMPRESSION_LEVEL_DEFAULT, &mut Vec::new())?;
        let sealed = key(keys, name, salt).seal(FrameKind::Text, NUMBER, container);
        stored(&sealed)?;
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
        let sealed = bytes(&self.sealed)?;
        stored(&sealed)?;
        let plain = key(keys, name, salt).open(FrameKind::Text, NUMBER, &sealed, limits::SEALED_TEXT_BYTES_MAX)?;
        String::from_utf8(plain).map_err(|_| malformed("not UTF-8"))
    }
}

/// Refuses what would not fit into a record.
fn stored(sealed: &[u8]) -> Result<()> {
    if sealed.len() > limits::SEALED_TEXT_STORED_BYTES_MAX {
        return Err(Error::Limit { structure: "sealed text", limit: "576 KiB compressed" });
    }
    Ok(())
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

    #[test]
    fn a_long_text_is_sealed_if_it_shrinks() {
        let seal = |text: &str| SealedText::seal(&keys(1), "points/a/b", [7; SALT_BYTES], text);
        let long = "/".repeat(limits::SEALED_TEXT_BYTES_MAX);
        assert_eq!(seal(&long).unwrap().open(&keys(1), "points/a/b").unwrap(), long);
        assert!(matches!(seal(&format!("{long}/")), Err(Error::Limit { .. })));
        let mut state = 1_u64;
        let mut letter = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'0' + (state >> 58) as u8)
        };
        let noise: String = (0..1 << 20).map(|_| letter()).collect();
        assert!(matches!(seal(&noise), Err(Error::Limit { limit: "576 KiB compressed", .. })));
        // Base64 of a store of 528 KiB that is all noise.
        assert!(seal(&noise[..720_896]).is_ok());
    }
}
