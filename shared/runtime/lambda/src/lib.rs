//! AWS Lambda: runs one function for whatever calls it.
//!
//! # What a function takes
//! * a batch of an Amazon MQ event source mapping: each record is handled and settled by itself;
//! * an event of ours, bare: for operators, and for services that call functions directly;
//! * for `schedule`: a scheduled event of EventBridge or EventBridge Scheduler.
//!
//! `events/samples/triggers` holds one of each.
//!
//! # What it answers
//! `{"handled":n,"later":n,"parked":n}`: records whose effects are published, records that come again, records put aside for
//! an operator. It fails only when something could be neither handled nor handed back, and then all of it comes again.
//!
//! # Environment
//! | variable | |
//! |---|---|
//! | `STILLPOINT_VAULT` | the vault's URL |
//! | `STILLPOINT_KEY_FILE` | a key file; without it, one of the vault's KMS slots opens the vault |
//! | `STILLPOINT_KMS_KEY` | the only KMS key to open it with, an ARN of a key or alias |
//! | `STILLPOINT_BROKER` | `amqp://user:password@host:port/vhost` or `amqps://…` |
//! | `STILLPOINT_BROKER_CA` | certificates (PEM file) to trust at the broker instead of the system's |
//! | `STILLPOINT_SITE` | the site whose queues are consumed; `aws` |
//! | `STILLPOINT_WEBHOOK` | where `notify` tells alarms; only the log without it |
//! | `STILLPOINT_WEBHOOK_SECRET` or `…_SECRET_FILE` | what those messages are signed with, or a file that holds it |
//! | `STILLPOINT_WEBHOOK_ALLOW_HTTP` | `true` lets them travel without TLS |
//! | `STILLPOINT_LOG` | which logs are written to stderr, for instance `info`; `warn` |
//!
//! They are read with the first event, not before: a wrong one fails that invocation, with its reason in the answer.

mod answer;
mod budget;
mod host;
mod incoming;
mod logs;
mod open;
mod settings;
mod station;

pub use host::{Ports, run};
