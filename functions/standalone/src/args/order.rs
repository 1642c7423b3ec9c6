//! Arguments of `requester` and `order`.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Subcommand};
use stillpoint_model::{ItemName, RequesterName};

use super::Format;

#[derive(Debug, Subcommand)]
pub enum Requester {
    /// Let another system order restores
    Add(RequesterAdd),
    /// Take that back
    Revoke {
        /// Its name
        name: RequesterName,
    },
    /// List them, with what they may order
    List,
}

/// What a requester may do.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("key").required(true).args(["public_key", "new_key"]))]
#[command(group = ArgGroup::new("whose").required(true).args(["machine", "any_machine"]))]
pub struct RequesterAdd {
    /// Its name
    pub name: RequesterName,
    /// Its public key, Ed25519 in PEM, as `openssl pkey -pubout` writes it
    #[arg(long, value_name = "FILE")]
    pub public_key: Option<PathBuf>,
    /// Make it a key and write that here, for the other system alone
    #[arg(long, value_name = "FILE")]
    pub new_key: Option<PathBuf>,
    /// A machine that it may have restored
    #[arg(long, value_name = "NAME")]
    pub machine: Vec<ItemName>,
    /// It may have all machines restored
    #[arg(long)]
    pub any_machine: bool,
    /// A folder at the site, or a folder's URL in a store, that it may have written to, with what lies in it
    #[arg(long = "to", value_name = "DIR", required = true)]
    pub place: Vec<String>,
    /// It may have replaced what is there
    #[arg(long)]
    pub may_overwrite: bool,
    /// Change a requester that exists, or that was revoked
    #[arg(long)]
    pub replace: bool,
}

/// What is ordered.
#[derive(Debug, Args)]
pub struct Order {
    /// The machine
    pub name: ItemName,
    /// Who orders
    #[arg(long, value_name = "NAME")]
    pub requester: RequesterName,
    /// The requester's private key, Ed25519 in PEM (PKCS #8)
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// Which point: latest, an id, or the newest at or before a time
    #[arg(long, default_value = "latest")]
    pub point: String,
    /// The folder to write to, which exists at the site, or the URL of a folder in a store
    #[arg(long, value_name = "DIR")]
    pub to: String,
    /// raw, or qcow2
    #[arg(long, default_value = "raw")]
    pub format: Format,
    /// Replace what is there
    #[arg(long)]
    pub overwrite: bool,
    /// How long it is good, up to 30m
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = super::duration)]
    pub valid_for: Duration,
    /// Print the whole event, as it is published to the exchange of the site's broker
    #[arg(long)]
    pub event: bool,
}
