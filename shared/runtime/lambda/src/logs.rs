use tracing_subscriber::EnvFilter;

/// Without a setting, only what somebody should look at.
const DEFAULT: &str = "warn";

/// Logs to stderr as JSON, one record a line; Lambda adds the time and the request.
pub fn init() {
    let filter = EnvFilter::try_from_env("STILLPOINT_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).json().init();
}
