use object_store::client::HttpError;
use serde::Deserialize;
use stillpoint_model::{Error, ErrorKind};

use crate::KeyArn;

/// Characters of KMS's own words that are passed on.
const MESSAGE_CHARS_MAX: usize = 300;

/// Why one request to KMS brought nothing.
#[derive(Debug)]
pub enum Failure {
    /// The request was never sent; the error says all.
    Unsent(Error),
    /// No answer, or a broken one.
    Silent { endpoint: String, cause: HttpError },
    /// KMS, or something before it, refused.
    Refused { status: u16, code: String, message: String },
}

/// The body of a refusal (AWS JSON 1.1 protocol: the code may follow a name space and a `#`).
#[derive(Deserialize, Default)]
struct Refusal {
    #[serde(default, rename = "__type")]
    code: String,
    #[serde(default, alias = "Message")]
    message: String,
}

impl Failure {
    /// Reads a refusal; what is no JSON comes from something before KMS.
    pub fn refused(status: u16, body: &[u8]) -> Self {
        let Refusal { code, message } = serde_json::from_slice(body).unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default().to_owned();
        Self::Refused { status, code, message: message.chars().take(MESSAGE_CHARS_MAX).collect() }
    }

    /// Whether the same request may succeed a little later (KMS API Reference, "Common errors" and each call's errors).
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unsent(_) => false,
            Self::Silent { .. } => true,
            Self::Refused { status, code, .. } => {
                let passing = [
                    "ThrottlingException",
                    "Throttling",
                    "TooManyRequestsException",
                    "RequestLimitExceeded",
                    "LimitExceededException",
                    "KMSInternalException",
                    "DependencyTimeoutException",
                    "KeyUnavailableException",
                ];
                passing.contains(&code.as_str()) || *status == 429 || *status >= 500
            }
        }
    }

    /// The error of a request that was about `key`, with what to do.
    pub fn into_error(self, key: &KeyArn) -> Error {
        let passing = self.is_passing();
        let (status, code, message) = match self {
            Self::Unsent(error) => return error,
            Self::Silent { endpoint, cause } => {
                let advice = "check the network, and AWS_ENDPOINT_URL_KMS or AWS_ENDPOINT_URL if set";
                return Error::unavailable(format!("AWS KMS does not answer at {endpoint}; {advice}")).with_source(cause);
            }
            Self::Refused { status, code, message } => (status, code, message),
        };
        let (kind, what) = meaning(&code, passing, key);
        let said = if code.is_empty() { format!("HTTP status {status}") } else { code };
        let colon = if message.is_empty() { "" } else { ": " };
        Error::new(kind, format!("{what} ({said}{colon}{message})"))
    }
}

fn meaning(code: &str, passing: bool, key: &KeyArn) -> (ErrorKind, String) {
    match code {
        "AccessDeniedException" => (
            ErrorKind::Denied,
            format!(
                "these AWS credentials may not use KMS key {key}; allow them kms:Decrypt (to make slots: kms:GenerateDataKey)"
            ),
        ),
        "DisabledException" => {
            (ErrorKind::Denied, format!("KMS key {key} is disabled; enable it, or open the vault with another key"))
        }
        "KMSInvalidStateException" => (
            ErrorKind::Denied,
            format!(
                "KMS key {key} is to be deleted or otherwise out of use; cancel its deletion, or open the vault with another key"
            ),
        ),
        "NotFoundException" => (ErrorKind::Missing, format!("there is no KMS key {key}; check account, region and id")),
        "InvalidCiphertextException" => (
            ErrorKind::Corrupt,
            format!(
                "KMS key {key} does not open the slot: it was damaged or comes from another vault; open the vault with another key"
            ),
        ),
        "IncorrectKeyException" => {
            (ErrorKind::Denied, format!("the slot was not made with KMS key {key}; give the key that it was made with"))
        }
        _ if passing => (ErrorKind::Unavailable, format!("AWS KMS in {} is busy or out of order; try again later", key.region())),
        "InvalidKeyUsageException" | "UnsupportedOperationException" | "InvalidArnException" | "ValidationException" => {
            (ErrorKind::Invalid, format!("KMS key {key} cannot wrap keys; give a symmetric key for encryption and decryption"))
        }
        "" => (ErrorKind::Internal, "what answered is not AWS KMS; check AWS_ENDPOINT_URL_KMS and AWS_ENDPOINT_URL".to_owned()),
        _ => (ErrorKind::Denied, "AWS KMS does not accept these AWS credentials; check them and this machine's clock".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> Error {
        let key = "arn:aws:kms:eu-central-1:111122223333:key/12".parse().unwrap();
        Failure::refused(status, body.as_bytes()).into_error(&key)
    }

    #[test]
    fn each_refusal_tells_what_to_do() {
        for (code, kind, advice) in [
            ("AccessDeniedException", ErrorKind::Denied, "kms:Decrypt"),
            ("com.amazonaws.kms#DisabledException", ErrorKind::Denied, "enable it"),
            ("KMSInvalidStateException", ErrorKind::Denied, "cancel its deletion"),
            ("NotFoundException", ErrorKind::Missing, "check account"),
            ("InvalidCiphertextException", ErrorKind::Corrupt, "another vault"),
            ("IncorrectKeyException", ErrorKind::Denied, "made with"),
            ("ThrottlingException", ErrorKind::Unavailable, "try again"),
            ("KeyUnavailableException", ErrorKind::Unavailable, "try again"),
            ("InvalidKeyUsageException", ErrorKind::Invalid, "symmetric"),
            ("UnrecognizedClientException", ErrorKind::Denied, "check them"),
        ] {
            let error = error(400, &format!(r#"{{"__type":"{code}","message":"as KMS says\nit"}}"#));
            assert_eq!(error.kind(), kind, "{code}");
            let line = error.one_line();
            assert!(line.contains(advice) && line.contains("as KMS says it"), "{line}");
        }
    }

    #[test]
    fn an_answer_of_something_else_is_told_by_its_status() {
        assert_eq!(error(404, "<html>").kind(), ErrorKind::Internal);
        assert_eq!(error(503, "<html>").kind(), ErrorKind::Unavailable);
        assert!(Failure::refused(503, b"").is_passing() && Failure::refused(429, b"").is_passing());
        assert!(!Failure::refused(400, br#"{"__type":"AccessDeniedException"}"#).is_passing());
    }
}
