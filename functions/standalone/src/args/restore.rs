//! Arguments of `restore`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use stillpoint_model::{DiskName, Error, ItemName, Result, policy::ByteCount};

/// What `restore` writes, and where to.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("target").required(true).multiple(true).args(["to", "disk", "replace", "discard_old", "many", "order"]))]
pub struct Restore {
    /// The machine
    #[arg(required_unless_present_any = ["many", "order"])]
    name: Option<ItemName>,
    /// Which point: latest, an id, or the newest at or before a time
    #[arg(long, default_value = "latest")]
    pub point: String,
    /// From the vault's replica (paired), or another vault's URL, instead of the vault
    #[arg(long, value_name = "paired|URL")]
    pub from: Option<String>,
    /// Machines and the targets that they are spread over, in TOML: each disk as TARGET/<machine>/<disk>.raw
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "point", "to", "disk", "replace", "discard_old"])]
    pub many: Option<PathBuf>,
    /// What another system orders, as `stillpoint order` signs it; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "point", "many", "estimate", "to", "disk", "overwrite", "replace", "discard_old"])]
    pub order: Option<PathBuf>,
    /// Only say how long it would take, by measuring vault and target, and whether there is room
    #[arg(long, conflicts_with_all = ["replace", "discard_old", "new_name", "instant"])]
    pub estimate: bool,
    /// Write every disk as DIR/<disk>.raw; DIR may be the URL of a folder in a store, s3://bucket/folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["disk", "replace", "discard_old"])]
    pub to: Option<PathBuf>,
    /// With --to: raw, or qcow2 for DIR/<disk>.qcow2 [default: raw]
    #[arg(long, requires = "to")]
    pub format: Option<Format>,
    /// With --to: make the machine again under this name: DIR/start.sh (platform qemu), or a domain, DIR/<name>.xml (libvirt)
    #[arg(long = "as", value_name = "NEW-NAME", requires = "to")]
    pub new_name: Option<ItemName>,
    /// With --as: the same UUID and MAC addresses, for a machine whose first self is gone
    #[arg(long, requires = "new_name")]
    pub same_identity: bool,
    /// With --as: without its networks, so that it meets nobody
    #[arg(long, requires = "new_name")]
    pub no_network: bool,
    /// With --as: boot it at once, from the vault, and fill its disks (qcow2) meanwhile; again, to go on after an interruption
    #[arg(long, requires = "new_name", conflicts_with = "overwrite")]
    pub instant: bool,
    /// With --instant: fill disks with at most so many bytes a second
    #[arg(long, value_name = "SIZE", requires = "instant")]
    pub fill_rate: Option<ByteCount>,
    /// Write this disk to this file or block device, to a new image (qcow2:PATH), or to nbd://HOST:PORT/EXPORT or
    /// nbd+unix:///EXPORT?socket=PATH
    #[arg(long, value_name = "DISK=PATH", value_parser = super::disk, conflicts_with_all = ["replace", "discard_old"])]
    pub disk: Vec<(DiskName, PathBuf)>,
    /// Replace what is there
    #[arg(long)]
    pub overwrite: bool,
    /// Put the disks in place of those that the machine has, which must be off; the old ones stay as <file>.before-<job>
    #[arg(long, conflicts_with = "overwrite")]
    pub replace: bool,
    /// With --replace: power the machine down first; with =force, do not ask its guest (qemu, libvirt)
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "ask", requires = "replace")]
    pub stop: Option<PowerDown>,
    /// Remove the old disks that an earlier --replace has left
    #[arg(long)]
    pub discard_old: bool,
}

impl Restore {
    /// The machine.
    ///
    /// # Errors
    /// `invalid` where a list names many.
    pub fn name(&self) -> Result<&ItemName> {
        self.name.as_ref().ok_or_else(|| Error::invalid("which machine? give its name"))
    }
}

/// Format of restored files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Raw,
    Qcow2,
}

impl Format {
    /// Its name, for QEMU and as the end of file names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// How a machine is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PowerDown {
    /// Its guest is asked to power down.
    Ask,
    /// It is ended at once.
    Force,
}
