use std::{net::IpAddr, process::ExitCode, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use stillpoint_model::{Error, ErrorKind, Result};
use stillpoint_nbd::{Address, Export, Exports, HOLE, Identity, Listener, Run, ServeOptions, ZERO, serve, server_settings};
use stillpoint_reader::{CACHE_BYTES_MIN, DiskReader, PointReader};
use stillpoint_vault::Point;

use super::worker::stopped;
use crate::{args::ServePoint, output, session::Session, when};

/// Serves a point's disks until SIGTERM or Ctrl-C.
pub async fn run(session: &Session, wanted: ServePoint) -> Result<ExitCode> {
    let cache_bytes = wanted.cache.0;
    if cache_bytes < CACHE_BYTES_MIN {
        return Err(Error::invalid(format!("--cache takes {} MiB at least", CACHE_BYTES_MIN >> 20)));
    }
    let options = options(&wanted)?;
    if options.tls.is_none() && !wanted.insecure {
        refuse_network(&wanted.nbd).await?;
    }
    let point = when::resolve(&session.vault, &wanted.name, &wanted.point).await?;
    let reader = PointReader::open(session.vault.clone(), Arc::clone(&session.cpu), &point, cache_bytes).await?;
    let stop = stopped()?;
    let listener = Listener::bind(&wanted.nbd).await?;
    announce(session, &point, listener.address(), options.tls.is_some())?;
    serve(listener, exports(&reader), options, stop).await?;
    Ok(ExitCode::SUCCESS)
}

/// The disks of a point, by their names.
pub fn exports(reader: &PointReader) -> Exports {
    let export = |disk: DiskReader| (disk.name().to_string(), Arc::new(Exported(disk)) as Arc<dyn Export>);
    reader.disks().into_iter().map(export).collect()
}

/// A disk, as clients see it.
struct Exported(DiskReader);

#[async_trait]
impl Export for Exported {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    async fn read(&self, offset: u64, length: usize) -> Result<Bytes> {
        self.0.read(offset, length).await.map_err(|error| self.told(error))
    }

    async fn block_status(&self, offset: u64, length: u64) -> Result<Vec<Run>> {
        let stretches = self.0.block_status(offset, length).await.map_err(|error| self.told(error))?;
        let flags = |is_zero| if is_zero { HOLE | ZERO } else { 0 };
        Ok(stretches.into_iter().map(|stretch| Run::new(stretch.length, flags(stretch.is_zero))).collect())
    }
}

impl Exported {
    /// Whatever is wrong with the vault is an input/output error for clients, and for the operator a line in the log.
    fn told(&self, error: Error) -> Error {
        let error = error.context(format!("disk {}", self.0.name()));
        tracing::warn!("{}", error.one_line());
        match error.kind() {
            ErrorKind::Denied | ErrorKind::Invalid => Error::unavailable(error.one_line()),
            _ => error,
        }
    }
}

fn options(wanted: &ServePoint) -> Result<ServeOptions> {
    let identity = wanted.tls_certificate.clone().zip(wanted.tls_key.clone());
    let settings = |(certificate, key)| server_settings(&Identity { certificate, key }, wanted.tls_client_authority.as_deref());
    Ok(ServeOptions { tls: identity.map(settings).transpose()?, ..ServeOptions::default() })
}

/// Without TLS, disks are not offered beyond this machine by accident.
async fn refuse_network(address: &Address) -> Result<()> {
    let Address::Tcp { host, port } = address else { return Ok(()) };
    let found = tokio::net::lookup_host((host.as_str(), *port)).await;
    let found = found.map_err(|error| Error::from(error).context(format!("cannot find {host}")))?;
    if found.map(|address| address.ip()).all(|ip: IpAddr| ip.is_loopback()) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{address} can be reached over the network: give --tls-certificate and --tls-key, or --insecure to let everybody read the disks"
    )))
}

/// Says what is served and how it is used.
fn announce(session: &Session, point: &Point, address: &Address, is_secure: bool) -> Result<()> {
    let uris: Vec<String> = point.disks.iter().map(|disk| uri(address, disk.name.as_str(), is_secure)).collect();
    if session.global.json {
        let exports = point.disks.iter().zip(&uris);
        let exports: Vec<_> =
            exports.map(|(disk, uri)| json!({ "name": disk.name, "size_bytes": disk.size_bytes, "uri": uri })).collect();
        return output::json(&json!({
            "machine": point.item, "point": point.id, "instant": point.instant, "address": address.to_string(), "exports": exports,
        }));
    }
    let rows = point.disks.iter().zip(&uris);
    let rows = rows.map(|(disk, uri)| vec![disk.name.to_string(), output::bytes(disk.size_bytes), uri.clone()]).collect();
    output::line(&format!("serving point {} of {}, read-only, until Ctrl-C", point.id, point.item));
    output::table(&["EXPORT", ">SIZE", "URI"], rows);
    if let Some(uri) = uris.first().filter(|_| !is_secure) {
        output::line("");
        output::line(&format!("copy:    qemu-img convert -f raw -O qcow2 '{uri}' disk.qcow2"));
        output::line(&format!("a file:  nbdfuse -r disk.raw '{uri}'"));
        output::line(&format!("attach:  qemu-nbd --read-only --format=raw --connect=/dev/nbd0 '{uri}'"));
    }
    Ok(())
}

/// How clients name an export.
pub fn uri(address: &Address, export: &str, is_secure: bool) -> String {
    let tls = if is_secure { "s" } else { "" };
    match address {
        Address::Unix(path) => format!("nbd{tls}+unix:///{export}?socket={}", escaped(&path.to_string_lossy())),
        Address::Tcp { host, port } if host.contains(':') => format!("nbd{tls}://[{host}]:{port}/{export}"),
        Address::Tcp { host, port } => format!("nbd{tls}://{host}:{port}/{export}"),
    }
}

/// The value of a parameter of a URI.
fn escaped(path: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte);
    path.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
