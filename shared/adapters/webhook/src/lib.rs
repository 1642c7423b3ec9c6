//! A webhook: tells of alarms by requests that are signed as Standard Webhooks are (version 1 of that specification), so that receivers
//! check them with the libraries it has for most languages.

mod failure;
mod message;
mod secret;
mod settings;
mod webhook;

pub use secret::SigningSecret;
pub use settings::{Given, receiver};
pub use webhook::Webhook;
