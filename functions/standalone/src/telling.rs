//! Who is told of alarms.

use std::sync::Arc;

use stillpoint_model::Result;
use stillpoint_notify::Telling;
use stillpoint_ports::Messenger;
use stillpoint_webhook::Given;

use crate::{args::Global, session::system};

/// The receiver that the options name, if they do.
pub fn receiver(global: &Global) -> Result<Option<Arc<dyn Messenger>>> {
    let given = Given {
        url: global.webhook.clone(),
        secret_file: global.webhook_secret_file.clone(),
        // Never an option: every user of a machine sees the options of every process.
        secret: std::env::var("STILLPOINT_WEBHOOK_SECRET").ok().filter(|secret| !secret.is_empty()),
        allow_http: std::env::var("STILLPOINT_WEBHOOK_ALLOW_HTTP").is_ok_and(|value| value == "true"),
    };
    stillpoint_webhook::receiver(&given, system().0)
}

/// Who is told here. No command fails because nobody can be told; services look for themselves before they begin.
pub fn telling(global: &Global) -> Telling {
    match receiver(global) {
        Ok(Some(receiver)) => Telling::Receiver(receiver),
        Ok(None) if tracing::enabled!(tracing::Level::WARN) => Telling::Log,
        _ => Telling::Elsewhere,
    }
}
