//! Arguments of what is done with the paired region.

use std::time::Duration;

use clap::Args;
use stillpoint_model::PolicyName;

/// A pair that is to be.
#[derive(Debug, Clone, Args)]
pub struct Pair {
    /// Where the replica lies or is to lie, an empty place in another region: file:///path, s3://bucket/prefix, az://…, gs://…
    #[arg(long = "with", value_name = "URL")]
    pub url: String,
    /// How old a point may be that is not in the replica, before an alarm is raised
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = super::duration)]
    pub target: Duration,
    /// Let the replica keep all points by the retention of this policy [default: as the primary does]
    #[arg(long, value_name = "POLICY")]
    pub retention: Option<PolicyName>,
}
