use std::time::Duration;

use stillpoint_model::Error;

/// Why one request told nobody.
#[derive(Debug)]
pub enum Failure {
    /// No answer.
    Silent(reqwest::Error),
    /// An answer that is no success.
    Refused(u16),
}

impl Failure {
    /// Whether the same request may succeed a little later.
    pub fn is_passing(&self) -> bool {
        match self {
            // A request that cannot even be made does not get better.
            Self::Silent(error) => !error.is_builder(),
            Self::Refused(status) => *status == 429 || *status >= 500,
        }
    }

    /// The error, with what to do; the rest of the URL may be a secret.
    pub fn into_error(self, host: &str, patience: Duration) -> Error {
        let seconds = patience.as_secs();
        match self {
            Self::Silent(error) if error.is_timeout() => {
                Error::unavailable(format!("the webhook at {host} did not answer within {seconds} s"))
            }
            Self::Silent(error) => Error::unavailable(format!(
                "the webhook at {host} cannot be reached; check its address, the network and its certificate"
            ))
            .with_source(error.without_url()),
            Self::Refused(status @ 300..400) => Error::denied(format!(
                "the webhook at {host} redirects (HTTP status {status}), which is not followed; give the address that it redirects to"
            )),
            Self::Refused(status) if status == 429 || status >= 500 => {
                Error::unavailable(format!("the webhook at {host} is busy or out of order (HTTP status {status})"))
            }
            Self::Refused(status) => Error::denied(format!(
                "the webhook at {host} refuses the message (HTTP status {status}); check its address and its secret"
            )),
        }
    }
}
