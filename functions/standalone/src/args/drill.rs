//! Arguments of `drill`.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Subcommand};
use stillpoint_model::ItemName;

#[derive(Debug, Subcommand)]
pub enum Drill {
    /// Restore into an isolated folder, check, measure, clean up, and write a signed report; exit code 3 where only the objective is missed
    Run(DrillRun),
    /// List the drills of a plan: when each is due, and how it did the last time
    List {
        /// The plan
        #[arg(long, value_name = "FILE")]
        plan: PathBuf,
        /// Where its reports are
        #[arg(long, value_name = "DIR", default_value = ".")]
        reports: PathBuf,
    },
    /// Check a report by itself: nothing but the key file is needed
    Verify {
        /// The report, drill-….json
        report: PathBuf,
    },
}

/// The drills that are wanted.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["names", "plan"]))]
pub struct DrillRun {
    /// The machines
    #[arg(value_name = "NAME")]
    pub names: Vec<ItemName>,
    /// A file with a [[drill]] table for each: name, machines or tags, one_in, from, point, checks, script, objective, schedule
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "point", "script", "script_timeout", "objective"])]
    pub plan: Option<PathBuf>,
    /// From the vault's replica (paired), or another vault's URL, instead of the vault
    #[arg(long, value_name = "paired|URL")]
    pub from: Option<String>,
    /// Which point: latest, an id, or the newest at or before a time
    #[arg(long, default_value = "latest")]
    pub point: String,
    /// Restore below this folder [default: $TMPDIR, or /var/tmp]
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
    /// How long the restore may take, such as 1h
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    pub objective: Option<Duration>,
    /// Run this last, with the disks' paths in STILLPOINT_DRILL_DISK_<NAME>; it says yes by exit code 0
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// How long it may take [default: 10m]
    #[arg(long, value_name = "TIME", requires = "script", value_parser = super::duration)]
    pub script_timeout: Option<Duration>,
    /// Write reports into this folder
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub reports: PathBuf,
}

/// Drills that a service starts by itself.
#[derive(Debug, Clone, Args)]
pub struct ServeDrills {
    /// Also run the drills of this plan that have a schedule, when they are due
    #[arg(long, value_name = "FILE", requires = "drill_reports")]
    pub drills: Option<PathBuf>,
    /// Write their reports into this folder
    #[arg(long, value_name = "DIR", requires = "drills")]
    pub drill_reports: Option<PathBuf>,
    /// Have them restore below this folder [default: $TMPDIR, or /var/tmp]
    #[arg(long, value_name = "DIR", requires = "drills")]
    pub drill_into: Option<PathBuf>,
}
