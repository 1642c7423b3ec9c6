//! Arguments of the commands that look into recovery points.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Subcommand};
use stillpoint_model::{DiskName, ItemName, policy::ByteCount};
use stillpoint_nbd::Address;

#[derive(Debug, Args)]
pub struct Files {
    /// The machine
    pub name: ItemName,
    /// Which point: latest, an id, or the newest at or before a time
    #[arg(long, default_value = "latest", global = true)]
    pub point: String,
    /// Look on this disk only
    #[arg(long, global = true)]
    pub disk: Option<DiskName>,
    /// Look in this partition only
    #[arg(long, value_name = "N", global = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub partition: Option<u32>,
    #[command(subcommand)]
    pub command: Option<FilesCommand>,
}

#[derive(Debug, Subcommand)]
pub enum FilesCommand {
    /// List the point's partitions and what they hold; so does no command at all
    Volumes,
    /// List a folder, or one file
    Ls {
        /// Its path
        #[arg(default_value = "/")]
        path: OsString,
    },
    /// Copy a file, or a folder, out of the point
    Get {
        /// Its path
        path: OsString,
        /// Where to: a file to make, or a folder that is there [default: this folder]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// A folder with all that is in it
        #[arg(short, long)]
        recursive: bool,
        /// Replace a file that is there
        #[arg(long)]
        overwrite: bool,
    },
}

#[derive(Debug, Args)]
pub struct ServePoint {
    /// The machine
    pub name: ItemName,
    /// Which point: latest, an id, or the newest at or before a time
    #[arg(long, default_value = "latest")]
    pub point: String,
    /// Where to listen: unix:/PATH or tcp:HOST:PORT
    #[arg(long, value_name = "ADDRESS")]
    pub nbd: Address,
    /// Memory for what was read and may be read again
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub cache: ByteCount,
    /// Speak TLS only, with this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// Serve only clients with a certificate that one of these authorities signed (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_client_authority: Option<PathBuf>,
    /// Let everybody who reaches this address over the network read the disks, without TLS
    #[arg(long)]
    pub insecure: bool,
}
