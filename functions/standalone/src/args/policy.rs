use std::path::PathBuf;

use clap::Subcommand;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use stillpoint_model::{ItemName, PolicyName};

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Apply a policy file: a new version of the policy, which its machines follow from now on
    Apply {
        /// The file (TOML, one policy); - for standard input
        file: PathBuf,
    },
    /// List policies, and machines that are in conflict
    List,
    /// Show a policy as a file that can be applied again, or its next runs
    Show {
        /// Its name
        name: PolicyName,
        /// An older version [default: the newest]
        #[arg(long, value_name = "N")]
        version: Option<u32>,
        /// The next runs of each of its machines
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
        next: Option<u16>,
        /// The next runs from this time on [default: now]
        #[arg(long, value_name = "TIME", requires = "next", value_parser = time)]
        from: Option<Timestamp>,
        /// The next runs of this machine only
        #[arg(long, value_name = "MACHINE", requires = "next")]
        item: Option<ItemName>,
    },
    /// Show what a policy file would do to recovery points: what would go, what would stay. Writes nothing
    Preview {
        /// The file; - for standard input
        file: PathBuf,
        /// This machine only
        #[arg(long, value_name = "MACHINE")]
        item: Option<ItemName>,
    },
}

fn time(text: &str) -> Result<Timestamp, String> {
    let local = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::system()).ok().map(|local| local.timestamp());
    let instant = text.parse().ok().or_else(local);
    instant.ok_or_else(|| "give a time such as 2027-03-28T00:00:00Z, or 2027-03-28 01:00 by this machine's clock".to_owned())
}
