use std::fmt;

use data_encoding::BASE64;
use ring::hmac;
use stillpoint_model::{Error, Result};

/// What secrets in base64 begin with (Standard Webhooks, "Signature scheme").
const PREFIX: &str = "whsec_";
/// Fewer bytes can be guessed (the same section asks for 24 to 64).
const BYTES_MIN: usize = 24;

/// What requests are signed with.
pub struct SigningSecret(hmac::Key);

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

impl SigningSecret {
    /// Reads `whsec_` and base64, or takes any other text as it is; spaces and line ends around it are none of it.
    ///
    /// # Errors
    /// `invalid` for what is no base64 after `whsec_`, and for what is too short.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let bytes = match text.strip_prefix(PREFIX) {
            Some(coded) => BASE64
                .decode(coded.as_bytes())
                .map_err(|_| Error::invalid(format!("the webhook's secret has no base64 after {PREFIX}; copy all of it")))?,
            None => text.as_bytes().to_vec(),
        };
        if bytes.len() < BYTES_MIN {
            return Err(Error::invalid(format!(
                "the webhook's secret has {} bytes, and needs at least {BYTES_MIN}; `openssl rand -base64 32` makes one",
                bytes.len()
            )));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The header `webhook-signature` of a message.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
        format!("v1,{}", BASE64.encode(hmac::sign(&self.0, &signed).as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_signed_as_the_specification_does() {
        // The example of the Standard Webhooks libraries.
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_can_be_guessed_or_is_cut_short_is_refused() {
        for (text, why) in
            [("", "0 bytes"), ("password", "8 bytes"), ("whsec_MfKQ9r8=", "5 bytes"), ("whsec_MfKQ9r8GK", "no base64")]
        {
            let error = SigningSecret::parse(text).unwrap_err().one_line();
            assert!(error.contains(why), "{error}");
        }
        assert!(SigningSecret::parse("a text of four and twenty").is_ok());
    }
}
