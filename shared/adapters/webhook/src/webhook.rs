use std::{net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use reqwest::{Client, header::CONTENT_TYPE, redirect};
use stillpoint_model::{Error, Result};
use stillpoint_ports::{Clock, Messenger, Notice};
use url::{Host, Url};

use crate::{
    SigningSecret,
    failure::Failure,
    message::{body, id},
};

/// For one try, its connection included.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries after the first, and the pause before the first of them; each pause is twice the one before, and scattered. All of it takes
/// less than a minute: then whoever asked goes on, and the timer comes again.
const REPEATS_MAX: usize = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A receiver of signed requests.
pub struct Webhook {
    url: Url,
    host: String,
    secret: SigningSecret,
    client: Client,
    clock: Arc<dyn Clock>,
    patience: Duration,
    first_pause: Duration,
}

/// Whether requests to this host never leave the machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// Nothing of the URL but its host is ever shown: its path may be what lets one in.
fn checked(text: &str, allow_http: bool) -> Result<Url> {
    let url = Url::parse(text).map_err(|error| Error::invalid("the webhook's address is no URL").with_source(error))?;
    let host = url.host_str().unwrap_or_default();
    match url.scheme() {
        _ if host.is_empty() => Err(Error::invalid("the webhook's address has no host; write https://host/path")),
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err(Error::invalid(format!("the webhook's address at {host} has a user or password; messages are signed instead")))
        }
        "https" => Ok(url),
        "http" if allow_http || is_loopback(&url) => Ok(url),
        "http" => Err(Error::invalid(format!(
            "the webhook at {host} has no TLS; write https://, or allow it with STILLPOINT_WEBHOOK_ALLOW_HTTP=true"
        ))),
        _ => Err(Error::invalid(format!("the webhook at {host} is neither https nor http"))),
    }
}

impl Webhook {
    /// A receiver at `url`, which must be https unless it is this machine or `allow_http`.
    ///
    /// # Errors
    /// `invalid` for a URL that cannot be used.
    pub fn new(url: &str, secret: SigningSecret, allow_http: bool, clock: Arc<dyn Clock>) -> Result<Self> {
        let url = checked(url, allow_http)?;
        // An error means that a provider is installed already, which is what we want.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder().redirect(redirect::Policy::none()).user_agent("stillpoint").build();
        let client = client.map_err(|error| Error::internal("cannot make a client for the webhook").with_source(error))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        Ok(Self { url, host, secret, client, clock, patience: TRY_TIMEOUT, first_pause: FIRST_PAUSE })
    }

    /// The same receiver with other times: for one try, and before the first repeat.
    #[must_use]
    pub fn with_patience(self, patience: Duration, first_pause: Duration) -> Self {
        Self { patience, first_pause, ..self }
    }

    /// One try, signed anew: receivers refuse old messages.
    async fn post(&self, id: &str, body: &[u8]) -> Result<(), Failure> {
        let timestamp = self.clock.now().as_second();
        let request = self
            .client
            .post(self.url.clone())
            .timeout(self.patience)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.secret.sign(id, timestamp, body))
            .body(body.to_vec());
        let response = request.send().await.map_err(Failure::Silent)?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(Failure::Refused(status.as_u16())) }
    }
}

#[async_trait]
impl Messenger for Webhook {
    async fn send(&self, notice: &Notice) -> Result<()> {
        let (id, body) = (id(notice), body(notice)?);
        let pauses = ExponentialBuilder::default().with_min_delay(self.first_pause).with_max_times(REPEATS_MAX).with_jitter();
        let sent = (|| self.post(&id, &body)).retry(pauses).when(Failure::is_passing).await;
        sent.map_err(|failure| failure.into_error(&self.host, self.patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_leave_the_machine_encrypted_or_not_at_all() {
        for good in ["https://hooks.example.org/a?b=c", "http://127.0.0.1:9000/x", "http://localhost/", "http://[::1]/"] {
            assert!(checked(good, false).is_ok(), "{good}");
        }
        assert!(checked("http://hooks.example.org/", true).is_ok());
        for (bad, why) in [
            ("hooks.example.org", "no URL"),
            ("http://hooks.example.org/t0ken", "no TLS"),
            ("http://localhost.example.org/t0ken", "no TLS"),
            ("http://10.0.0.1/t0ken", "no TLS"),
            ("ftp://hooks.example.org/t0ken", "neither"),
            ("https://user:t0ken@hooks.example.org/", "password"),
            ("file:///t0ken", "no host"),
        ] {
            let error = checked(bad, false).unwrap_err().one_line();
            assert!(error.contains(why) && !error.contains("t0ken"), "{error}");
        }
    }
}
