use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};
use stillpoint_model::{Error, Result};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::stream::Boxed;

/// A certificate with what proves it, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and after it those that lead to the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How a client makes sure of a server, and the server of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authorities that may have signed the server's certificate; no others are trusted.
    pub authority: PathBuf,
    /// Shown to a server that asks who the client is.
    pub identity: Option<Identity>,
    /// The name that the server's certificate must have; without it the host of the address (of a Unix socket `localhost`).
    pub server_name: Option<String>,
}

impl Tls {
    fn config(&self) -> Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("cannot set up TLS").with_source(error))?
            .with_root_certificates(authorities(&self.authority)?);
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some(identity) => {
                let (certificates, key) = identity.read()?;
                builder.with_client_auth_cert(certificates, key).map_err(|error| identity.refused(error))
            }
        }
    }

    /// Makes the stream of a client secure; `host` is the name that the certificate must have where the settings give none.
    pub(crate) async fn secure(&self, stream: Boxed, host: &str) -> Result<Boxed> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| Error::invalid(format!("'{}' cannot be the name of a certificate", name.escape_debug())))?;
        let connector = TlsConnector::from(Arc::new(self.config()?));
        let secured = connector.connect(name, stream).await.map_err(refused)?;
        Ok(Box::new(secured))
    }
}

impl Identity {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unreadable(&self.key, error))?;
        Ok((certificates(&self.certificate)?, key))
    }

    fn refused(&self, error: rustls::Error) -> Error {
        Error::invalid(format!("{} cannot be used with its key", self.certificate.display())).with_source(error)
    }
}

/// The settings of a server that shows `identity`, and lets in only clients whose certificate one of `client_authority` signed (where
/// there is none: everybody).
///
/// # Errors
/// `invalid` or `missing` for files that are not what they should be.
pub fn server_settings(identity: &Identity, client_authority: Option<&Path>) -> Result<Arc<ServerConfig>> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("cannot set up TLS").with_source(error))?;
    let builder = match client_authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| Error::invalid(format!("{} names no authority", path.display())).with_source(error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (certificates, key) = identity.read()?;
    builder.with_single_cert(certificates, key).map(Arc::new).map_err(|error| identity.refused(error))
}

/// Makes the stream of a server secure.
pub(crate) async fn accept(settings: &Arc<ServerConfig>, stream: Boxed) -> Result<Boxed> {
    let secured = TlsAcceptor::from(settings.clone()).accept(stream).await.map_err(refused)?;
    Ok(Box::new(secured))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn authorities(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| Error::invalid(format!("{} holds what is no authority", path.display())).with_source(error))?;
    }
    Ok(roots)
}

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| unreadable(path, error))?;
    if found.is_empty() {
        return Err(Error::invalid(format!("{} holds no certificate in PEM", path.display())));
    }
    Ok(found)
}

fn unreadable(path: &Path, error: rustls::pki_types::pem::Error) -> Error {
    match error {
        rustls::pki_types::pem::Error::Io(error) => Error::from(error).context(path.display()),
        error => Error::invalid(format!("{} is no PEM file of that kind", path.display())).with_source(error),
    }
}

/// A handshake that the peer's certificate fails is no passing trouble.
fn refused(error: std::io::Error) -> Error {
    let message = "cannot agree on TLS";
    match error.kind() {
        std::io::ErrorKind::InvalidData => Error::denied(message),
        _ => Error::unavailable(message),
    }
    .with_source(error)
}
