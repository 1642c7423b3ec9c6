//! Who is told of alarms: once, in the end, and of nothing that is not in the vault.

#[path = "notify/told.rs"]
mod told;
#[path = "notify/webhook.rs"]
mod webhook;
