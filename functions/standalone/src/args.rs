//! The command line.

mod drill;
mod live;
mod online;
mod order;
mod pair;
mod points;
mod policy;
mod restore;

use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Parser, Subcommand};
use stillpoint_broker::Site;
use stillpoint_events::Function;
use stillpoint_kms::KeyArn;
use stillpoint_model::{Consistency, DiskName, Error, ItemName, JobId, PolicyName, policy::INSTANT_RESTORE_DAYS_MAX};

pub use drill::{Drill, DrillRun, ServeDrills};
pub use live::Live;
pub use online::{Files, FilesCommand, ServePoint};
pub use order::{Order, Requester, RequesterAdd};
pub use pair::Pair;
pub use points::{Limit, Marked, Point, Settings, Stop};
pub use policy::Policy;
pub use restore::{Format, PowerDown, Restore};

/// Backs up virtual machines to object storage, provably.
#[derive(Debug, Parser)]
#[command(name = "stillpoint", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The vault: file:///path, s3://bucket/prefix, az://container/prefix, gs://bucket/prefix, or a path
    #[arg(long, global = true, value_name = "URL", env = "STILLPOINT_VAULT")]
    pub vault: Option<String>,
    /// The key file [default: ~/.config/stillpoint/<vault-id>.key]
    #[arg(long, global = true, value_name = "FILE", env = "STILLPOINT_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// The AWS KMS key, or an alias of it, that opens the vault, or for `vault create` is to open it, too
    #[arg(long, global = true, value_name = "ARN", env = "STILLPOINT_KMS_KEY")]
    pub kms: Option<KeyArn>,
    /// The broker whose workers do the work, amqp://user:password@host:port/vhost or amqps://… [default: this process]
    #[arg(long, global = true, value_name = "URL", env = "STILLPOINT_BROKER", hide_env_values = true)]
    pub broker: Option<String>,
    /// Certificates (PEM) to trust at the broker instead of the system's
    #[arg(long, global = true, value_name = "FILE", env = "STILLPOINT_BROKER_CA")]
    pub broker_ca: Option<PathBuf>,
    /// The site that reaches the machine or the target [default: this host]
    #[arg(long, global = true, value_name = "SITE", env = "STILLPOINT_SITE")]
    pub site: Option<Site>,
    /// Where alarms are told by signed requests, https://… [default: the log of services alone]
    #[arg(long, global = true, value_name = "URL", env = "STILLPOINT_WEBHOOK", hide_env_values = true)]
    pub webhook: Option<String>,
    /// A file with the secret that those are signed with
    #[arg(long, global = true, value_name = "FILE", env = "STILLPOINT_WEBHOOK_SECRET_FILE")]
    pub webhook_secret_file: Option<PathBuf>,
    /// Reads of 256 KiB a second that all processes of this host that are given it make of the disks of its machines together
    #[arg(long, global = true, value_name = "N", env = "STILLPOINT_READS_PER_SECOND")]
    pub reads_per_second: Option<NonZeroU32>,
    /// Print one JSON document
    #[arg(long, global = true)]
    pub json: bool,
    /// Segments to work on at once [default: from processors and memory, at most 3]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub in_flight: Option<u16>,
    /// zstd level of new data
    #[arg(long, global = true, value_name = "LEVEL", default_value_t = stillpoint_format::COMPRESSION_LEVEL_DEFAULT, value_parser = clap::value_parser!(i32).range(1..=19))]
    pub compression: i32,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole story on a real disk image, with a table; with --vault in a new vault there
    Demo {
        /// A raw disk image; without it one is made from files of this machine
        image: Option<PathBuf>,
    },
    /// Make, describe, check or open a vault
    #[command(subcommand)]
    Vault(Vault),
    /// Add and list machines, and say what policies choose them by
    #[command(subcommand)]
    Machine(Machine),
    /// Apply, list, show or preview policies
    #[command(subcommand)]
    Policy(Policy),
    /// Back machines up now
    Backup {
        /// The machines
        #[arg(required = true)]
        names: Vec<ItemName>,
        /// Consistency wanted
        #[arg(long, default_value = "crash")]
        consistency: Consistency,
        /// Keep the point for this long, for example 30d
        #[arg(long, value_name = "TIME", default_value = "30d", value_parser = keep)]
        keep: jiff::Span,
        /// Keep the snapshot, too, for this long, up to 30d, so that the point can be restored from it at once; 0: do not
        #[arg(long, value_name = "TIME", default_value = "0", value_parser = instant)]
        instant: u32,
        /// Do not wait for the workers; needs a broker
        #[arg(long)]
        detach: bool,
    },
    /// List a machine's recovery points
    Points {
        /// The machine
        name: ItemName,
        /// Also those that are deleted
        #[arg(long)]
        all: bool,
    },
    /// Hold, release, delete or undelete one recovery point
    #[command(subcommand)]
    Point(Point),
    /// Delete softly what no policy keeps any more
    Prune {
        /// Only show what would be deleted, and why
        #[arg(long)]
        dry_run: bool,
    },
    /// Free what nothing needs any more: condemned by one run, deleted by a later one
    Collect {
        /// Only show what would be condemned and what would be deleted now
        #[arg(long)]
        dry_run: bool,
    },
    /// Check that everything every recovery point needs is there, and read what is chosen to the last byte
    Verify {
        /// One machine's points [default: all machines]
        name: Option<ItemName>,
        /// Also read this part of all packs, such as 1/30 (parts count from 1), or all
        #[arg(long, value_name = "PART", value_parser = crate::commands::read_part)]
        read: Option<stillpoint_jobs::Rotation>,
    },
    /// Copy what the paired region lacks; from either side of a pair
    Replicate {
        /// One machine's points [default: all machines]
        name: Option<ItemName>,
    },
    /// Write a recovery point's disks to files, block devices or NBD exports, as a new machine, or in place of the old disks
    Restore(Restore),
    /// Say which other systems may order restores, and what they may order
    #[command(subcommand)]
    Requester(Requester),
    /// Sign an order for a restore with a requester's key, as another system does it
    Order(Order),
    /// Prove that machines can be restored, with a signed report, or check such a report
    #[command(subcommand)]
    Drill(Drill),
    /// Print a range of a disk as it is in a recovery point
    Read {
        /// The machine
        name: ItemName,
        /// Which point
        #[arg(long, default_value = "latest")]
        point: String,
        /// Which disk
        #[arg(long)]
        disk: DiskName,
        /// First byte
        #[arg(long, value_name = "BYTES", default_value_t = 0)]
        offset: u64,
        /// Number of bytes [default: to the end of the disk]
        #[arg(long, value_name = "BYTES")]
        length: Option<u64>,
    },
    /// List a recovery point's files and get them out of it, without mounting or restoring anything
    Files(Files),
    /// Serve a recovery point's disks read-only over NBD, until SIGTERM
    ServePoint(ServePoint),
    /// Run every function and the timer in this process, until SIGTERM
    Serve {
        /// How often the timer ticks
        #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
        tick: Duration,
        /// How long a job that a broker carries shows no progress before its messages are taken to be lost
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
        stalled_after: Duration,
        /// Leave the functions of the vault's replica to another process, in its own region
        #[arg(long)]
        without_replica: bool,
        #[command(flatten)]
        drills: ServeDrills,
    },
    /// Consume the queues of functions at a site, until SIGTERM
    Worker {
        /// schedule, snapshot, transfer, commit, restore, prune, collect, verify, replicate, notify
        #[arg(required = true, value_name = "FUNCTION")]
        functions: Vec<Function>,
        /// How often the timer ticks, where `schedule` is among the functions
        #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
        tick: Duration,
        /// How long a job shows no progress before its messages are taken to be lost
        #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
        stalled_after: Duration,
        /// How long the first connection is tried for
        #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
        patience: Duration,
    },
    /// List, show, redrive or drop messages that no function could handle
    Dead {
        #[command(subcommand)]
        command: Option<Dead>,
    },
    /// List open alarms; exit code 3 when there are any
    Alarms {
        /// Every record of every alarm, also of those that were resolved
        #[arg(long)]
        all: bool,
    },
    /// List jobs, or show, watch or cancel one
    Jobs {
        #[command(subcommand)]
        command: Option<Jobs>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Vault {
    /// Make a vault: probes the store, writes the key file and the recovery key
    Create {
        /// Write the recovery key here instead of printing it
        #[arg(long, value_name = "FILE")]
        recovery_key_file: Option<PathBuf>,
        /// Write no key file: with --kms, commands open the vault through AWS KMS
        #[arg(long)]
        no_key_file: bool,
    },
    /// Let a key of AWS KMS open the vault, too
    AddKms {
        /// The key, or an alias of it
        #[arg(value_name = "ARN")]
        key: KeyArn,
    },
    /// Describe the vault and its settings
    Info,
    /// Change what holds for the whole vault
    Set(Settings),
    /// Give the vault a replica in another region, which receives all that it keeps
    Pair(Pair),
    /// Make this replica the vault that backups go to, since its primary is lost
    Promote {
        /// Also if the primary answers
        #[arg(long)]
        yes: bool,
    },
    /// Check that everything every recovery point needs exists
    Check,
    /// Open a vault that was made elsewhere: puts a key file for it on this machine, unless it opens through AWS KMS here
    Open {
        /// The recovery key
        #[arg(long, value_name = "KEY", conflicts_with = "recovery_key_file")]
        recovery_key: Option<String>,
        /// A file that holds the recovery key
        #[arg(long, value_name = "FILE")]
        recovery_key_file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub enum Machine {
    /// Add a machine
    Add {
        /// Its name
        name: ItemName,
        /// What runs it: image, qemu or libvirt
        #[arg(long, default_value = "image")]
        platform: String,
        /// Platform image: a disk, a raw file or a block device; other platforms find disks by themselves
        #[arg(long, value_name = "DISK=PATH", value_parser = disk, required_unless_present_any = ["qmp", "domain", "setting"])]
        disk: Vec<(DiskName, PathBuf)>,
        #[command(flatten)]
        live: Box<Live>,
        /// Change the disks of a machine that exists
        #[arg(long)]
        replace: bool,
        /// A tag; with --replace the tags given, if any, take the place of those it has
        #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
        tag: Vec<(String, String)>,
        /// Put it under this policy [default with --replace: the one it is put under]
        #[arg(long, value_name = "POLICY")]
        policy: Option<PolicyName>,
    },
    /// Add many machines from one file: all or, if anything is wrong, none
    Import {
        /// A file with a [[machine]] table for each: name, disks, platform, tags, policy; - for standard input
        file: PathBuf,
        /// Change machines that exist otherwise
        #[arg(long)]
        replace: bool,
    },
    /// Give a machine tags, or take some away
    #[command(group = ArgGroup::new("change").required(true).multiple(true).args(["tag", "remove"]))]
    Tag {
        /// Its name
        name: ItemName,
        /// A tag to set
        #[arg(value_name = "KEY=VALUE", value_parser = tag)]
        tag: Vec<(String, String)>,
        /// The key of a tag to take away
        #[arg(long, value_name = "KEY")]
        remove: Vec<String>,
    },
    /// Put a machine under a policy by name
    #[command(group = ArgGroup::new("which").required(true).args(["policy", "none"]))]
    Policy {
        /// Its name
        name: ItemName,
        /// The policy
        policy: Option<PolicyName>,
        /// Leave it to names and tags in policies again
        #[arg(long)]
        none: bool,
    },
    /// Take the dirty bitmaps of a machine away from its disks, as going back to a snapshot of one's own needs it; the next backup reads all
    Untrack {
        /// Its name
        name: ItemName,
    },
    /// End a machine's protection: no scheduled backups, nothing pruned; `machine undelete` takes that back
    Stop(Stop),
    /// Protect a machine again that was stopped with --delete, while that can be taken back, or with --retain
    Undelete {
        /// Its name
        name: ItemName,
    },
    /// List machines
    List,
    /// Show one machine
    Show {
        /// Its name
        name: ItemName,
    },
}

#[derive(Debug, Subcommand)]
pub enum Jobs {
    /// Show one job
    Show {
        /// Its id
        id: JobId,
    },
    /// Wait until a job ends
    Watch {
        /// Its id
        id: JobId,
    },
    /// Give a job up
    Cancel {
        /// Its id
        id: JobId,
    },
}

#[derive(Debug, Subcommand)]
pub enum Dead {
    /// List them
    List,
    /// Show one, with its content
    Show {
        /// Its id
        id: String,
    },
    /// Put some back into their queues
    Redrive {
        #[command(flatten)]
        which: Chosen,
    },
    /// Throw some away
    Drop {
        #[command(flatten)]
        which: Chosen,
    },
}

/// Which dead letters.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Chosen {
    /// Their ids
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

impl Chosen {
    /// Whether a letter is among them.
    pub fn holds(&self, id: &str) -> bool {
        self.all || self.ids.iter().any(|chosen| chosen == id)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Option<jiff::SignedDuration> = text.parse().ok();
    let positive = parsed.filter(jiff::SignedDuration::is_positive).and_then(|duration| Duration::try_from(duration).ok());
    positive.ok_or_else(|| "give a time such as 30s, 10m or 2h".to_owned())
}

fn disk(text: &str) -> Result<(DiskName, PathBuf), Error> {
    let (name, path) = text.split_once('=').ok_or_else(|| Error::invalid("a disk is given as NAME=PATH"))?;
    if path.is_empty() {
        return Err(Error::invalid(format!("disk {name} has no path")));
    }
    Ok((name.parse()?, PathBuf::from(path)))
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a tag is given as KEY=VALUE")?;
    stillpoint_model::policy::check_tag(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A time of whole seconds.
fn instant(text: &str) -> Result<u32, String> {
    if text == "0" {
        return Ok(0);
    }
    let most = i64::from(INSTANT_RESTORE_DAYS_MAX) * 86_400;
    let days = jiff::SpanRelativeTo::days_are_24_hours();
    let span = text.parse::<jiff::Span>().ok().and_then(|span| span.to_duration(days).ok());
    let seconds = span.map(|span| span.as_secs()).filter(|seconds| (1..=most).contains(seconds));
    let seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok());
    seconds.ok_or_else(|| format!("give 0, or a time such as 12h or 2d, up to {INSTANT_RESTORE_DAYS_MAX}d"))
}

fn keep(text: &str) -> Result<jiff::Span, String> {
    let span: jiff::Span = text.parse().map_err(|_| "give a time such as 30d, 12w or 6h".to_owned())?;
    if span.is_positive() { Ok(span) } else { Err("the time must be longer than nothing".to_owned()) }
}
