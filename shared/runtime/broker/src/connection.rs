use std::{sync::Arc, time::Duration};

use lapin::{
    Connection, ConnectionProperties, DefaultConnectionBuilder, ErrorKind as Amqp,
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
    tcp::OwnedTLSConfig,
    uri::AMQPUri,
};
use stillpoint_model::{Error, Result};

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(15);
/// Seconds between signs of life, unless the URL says otherwise; a peer that is silent for twice as long is gone.
const HEARTBEAT_SECONDS: u16 = 20;

/// A broker's address and how to trust it.
#[derive(Clone)]
pub struct Broker {
    uri: AMQPUri,
    tls: OwnedTLSConfig,
    /// Without the password.
    shown: Arc<str>,
}

impl Broker {
    /// A broker at `url`, `amqp://user:password@host:port/vhost` or `amqps://…`. `ca_pem` holds the certificates to trust
    /// instead of the system's.
    ///
    /// # Errors
    /// `invalid` for a URL that names no broker.
    pub fn new(url: &str, ca_pem: Option<String>) -> Result<Self> {
        let mut uri: AMQPUri = url
            .parse()
            .map_err(|why: String| Error::invalid(format!("--broker takes amqp://user:password@host:port/vhost: {why}")))?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        let authority = &uri.authority;
        let shown = format!("{}://{}:{}/{}", uri.scheme, authority.host, authority.port, uri.vhost.replace('/', "%2f"));
        // lapin's TLS picks the process's provider; a second one is refused, which is fine.
        drop(rustls::crypto::ring::default_provider().install_default());
        Ok(Self { uri, tls: OwnedTLSConfig { identity: None, cert_chain: ca_pem }, shown: shown.into() })
    }

    /// How messages call it: without user and password.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Connects; `name` is what the broker's own tools show.
    ///
    /// # Errors
    /// `unavailable` when nobody answers, `denied` when user, password or virtual host are refused.
    pub(crate) async fn connect(&self, name: &str) -> Result<Connection> {
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let builder = DefaultConnectionBuilder::new().map_err(|error| self.explain("cannot connect to", error))?;
        let builder = builder.with_uri(self.uri.clone()).with_properties(properties).with_tls_config(self.tls.clone());
        let connecting = builder.connect();
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.explain("cannot connect to", error)),
            Err(_) => Err(Error::unavailable(format!("the broker at {} does not answer", self.shown))),
        }
    }

    /// An AMQP error in our words.
    pub(crate) fn explain(&self, what: &str, error: lapin::Error) -> Error {
        let refused = match error.kind() {
            Amqp::ProtocolError(amqp) => matches!(
                amqp.kind(),
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) | AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED)
            ),
            _ => false,
        };
        let message = format!("{what} the broker at {}", self.shown);
        if refused {
            Error::denied(format!("{message}: check user, password, virtual host and their permissions")).with_source(error)
        } else {
            Error::unavailable(message).with_source(error)
        }
    }
}

/// Whether a broker that is there says that it cannot do just now what it was asked, and closes the connection: RabbitMQ does while it
/// starts, and while a queue has no leader.
pub(crate) fn is_momentary(error: &lapin::Error) -> bool {
    let Amqp::ProtocolError(amqp) = error.kind() else { return false };
    matches!(amqp.kind(), AMQPErrorKind::Hard(AMQPHardError::INTERNALERROR))
}
