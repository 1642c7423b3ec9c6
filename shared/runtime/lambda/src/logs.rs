use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Logs to stderr as JSON, one record a line; Lambda adds the time and the request. `Targets` knows levels of modules and no
/// more, and spares the bootstrap the regular expressions of other filters. Unless told, it lets through what somebody should
/// look at.
pub fn init() {
    let wanted = std::env::var("STILLPOINT_LOG").ok().and_then(|text| text.parse().ok());
    let filter: Targets = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json();
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
}
