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
//! | `STILLPOINT_LOG` | which logs are written to stderr, for instance `info`; `warn` |
//!
//! They are read with the first event, not before: a wrong one fails that invocation, with its reason in the answer.

mod answer;
mod budget;
mod incoming;
mod logs;
mod open;
mod settings;
mod station;

use std::{process::ExitCode, sync::Arc};

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;
use stillpoint_ports::Backlog;

use crate::{answer::Failed, station::Station};

/// What a function is wired to.
pub struct Ports {
    /// The ports of all functions.
    pub wiring: Wiring,
    /// How much waits at the site.
    pub backlog: Arc<dyn Backlog>,
    /// The site.
    pub site: String,
}

/// Without these, Lambda's own library stops with a panic.
const GIVEN_BY_LAMBDA: [&str; 4] =
    ["AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION"];

/// Runs `function`, whose handlers `functions` makes, until Lambda ends the process: the whole of a bootstrap's `main`.
pub fn run(function: Function, functions: impl Fn(&Ports) -> Functions + Send + Sync + 'static) -> ExitCode {
    logs::init();
    if let Some(missing) = GIVEN_BY_LAMBDA.iter().find(|name| std::env::var_os(name).is_none()) {
        tracing::error!("{missing} is not set: this program is started by AWS Lambda, or by `cargo lambda watch`");
        return ExitCode::from(2);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let station = Arc::new(Station::new(function, Box::new(functions)));
    let serve = service_fn(move |event: LambdaEvent<Value>| {
        let station = Arc::clone(&station);
        async move { station.invoke(event.payload, event.context.deadline).await.map_err(Failed) }
    });
    match runtime.block_on(lambda_runtime::run(serve)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("Lambda's runtime API: {error}");
            ExitCode::FAILURE
        }
    }
}
