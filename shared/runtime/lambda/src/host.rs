use std::{process::ExitCode, sync::Arc};

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;
use stillpoint_ports::{Backlog, Messenger};

use crate::{answer::Failed, logs, station::Station};

/// What a function is wired to.
pub struct Ports {
    /// The ports of all functions.
    pub wiring: Wiring,
    /// How much waits at the site.
    pub backlog: Arc<dyn Backlog>,
    /// Where alarms are told, beside the log.
    pub messenger: Option<Arc<dyn Messenger>>,
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
