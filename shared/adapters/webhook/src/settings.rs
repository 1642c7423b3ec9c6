use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use stillpoint_model::{Error, Result};
use stillpoint_ports::{Clock, Messenger};

use crate::{SigningSecret, Webhook};

/// A secret's file is a line.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// What an operator gives.
#[derive(Clone, Default)]
pub struct Given {
    /// `STILLPOINT_WEBHOOK`: where to.
    pub url: Option<String>,
    /// `STILLPOINT_WEBHOOK_SECRET_FILE`: a file that holds the secret.
    pub secret_file: Option<PathBuf>,
    /// `STILLPOINT_WEBHOOK_SECRET`: the secret itself.
    pub secret: Option<String>,
    /// `STILLPOINT_WEBHOOK_ALLOW_HTTP`: whether alarms may travel without TLS.
    pub allow_http: bool,
}

/// The receiver that was given, if one was.
///
/// # Errors
/// `invalid`, or as the file, naming the setting.
pub fn receiver(given: &Given, clock: Arc<dyn Clock>) -> Result<Option<Arc<dyn Messenger>>> {
    let Some(url) = &given.url else { return Ok(None) };
    let secret = match (&given.secret_file, &given.secret) {
        (Some(_), Some(_)) => {
            Err(Error::invalid("the webhook has two secrets; give STILLPOINT_WEBHOOK_SECRET_FILE or STILLPOINT_WEBHOOK_SECRET"))
        }
        (Some(path), None) => from_file(path),
        (None, Some(secret)) => SigningSecret::parse(secret),
        (None, None) => Err(Error::invalid(
            "the webhook has no secret to sign with; give STILLPOINT_WEBHOOK_SECRET_FILE, made with `openssl rand -base64 32`",
        )),
    };
    let webhook = Webhook::new(url, secret?, given.allow_http, clock)?;
    Ok(Some(Arc::new(webhook)))
}

fn from_file(path: &Path) -> Result<SigningSecret> {
    let named = |error: Error| error.context(format!("the webhook's secret file {}", path.display()));
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| named(error.into()))?;
    SigningSecret::parse(&text).map_err(named)
}
