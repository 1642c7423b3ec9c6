//! Disks that are written over NBD: exports that were given as targets, and qcow2 images through their daemon.

use async_trait::async_trait;
use bytes::Bytes;
use stillpoint_model::{Error, Extent, Result};
use stillpoint_nbd::{Address, Client, Options, ZERO};
use stillpoint_ports::{DiskWriter, TargetDisk};

use super::{
    location::Location,
    prepare::{holds_data, too_small, zero_ends},
};
use crate::label::label;

/// The metadata context that tells where zeros are.
pub(crate) const CONTEXT: &str = "base:allocation";

/// Connects to an export.
pub(crate) async fn connect(disk: &TargetDisk, address: &Address, export: &str) -> Result<Client> {
    let connected = Client::connect(address, export, &[CONTEXT], &Options::default()).await;
    connected.map_err(|error| error.context(label(&disk.name, &disk.location)))
}

/// Checks what is restored to exports, and touches nothing. An export is treated as a block device is.
pub(crate) async fn check(disks: &[TargetDisk]) -> Result<()> {
    for disk in disks {
        if let Location::Export(address, export) = Location::of(disk)? {
            let client = connect(disk, &address, &export).await?;
            let checked = check_export(disk, &client).await;
            client.close().await;
            checked?;
        }
    }
    Ok(())
}

async fn check_export(disk: &TargetDisk, client: &Client) -> Result<()> {
    let label = label(&disk.name, &disk.location);
    if client.is_read_only() {
        return Err(Error::denied(format!("{label} is read-only; give an export that can be written to")));
    }
    let size_bytes = client.size_bytes();
    if size_bytes < disk.size_bytes {
        return Err(too_small(&label, size_bytes, disk.size_bytes));
    }
    let unit = u64::from(client.block_sizes().minimum);
    if !disk.size_bytes.is_multiple_of(unit) {
        return Err(Error::invalid(format!("{label} takes whole blocks of {unit} bytes, and the disk ends within one")));
    }
    if !disk.overwrite {
        for end in zero_ends(size_bytes) {
            let bytes = client.read(end.offset, vec![0; end.length as usize]).await.map_err(|error| error.context(&label))?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Err(holds_data(&label));
            }
        }
    }
    Ok(())
}

/// Syncs what was written to an export.
pub(crate) async fn publish(disks: &[TargetDisk]) -> Result<()> {
    for disk in disks {
        if let Location::Export(address, export) = Location::of(disk)? {
            let client = connect(disk, &address, &export).await?;
            let flushed = client.flush().await;
            client.close().await;
            flushed.map_err(|error| error.context(label(&disk.name, &disk.location)))?;
        }
    }
    Ok(())
}

/// Writes one disk over NBD.
pub(crate) struct NbdWriter {
    label: String,
    client: Client,
    size_bytes: u64,
}

impl NbdWriter {
    /// A writer over a connection.
    ///
    /// # Errors
    /// `missing` when the export is smaller than what was prepared.
    pub(crate) fn new(disk: &TargetDisk, client: Client) -> Result<Self> {
        let label = label(&disk.name, &disk.location);
        let (found_bytes, wanted_bytes) = (client.size_bytes(), disk.size_bytes);
        if found_bytes < wanted_bytes {
            return Err(Error::missing(format!(
                "{label} has {found_bytes} bytes and was prepared for {wanted_bytes}; restore again"
            )));
        }
        Ok(Self { label, client, size_bytes: wanted_bytes })
    }

    fn inside(&self, extent: Extent) -> Result<()> {
        // An export may be larger than the disk: what lies past the disk is not ours.
        if extent.end() > self.size_bytes {
            return Err(Error::internal(format!("{}: asked to write past its end", self.label)));
        }
        Ok(())
    }

    /// What reads as zeros already is left alone: in a new image it takes no space, not even in tables.
    async fn zero(&self, extent: Extent) -> Result<()> {
        if !self.client.has_context(CONTEXT) {
            return self.client.write_zeroes(extent.offset, extent.length, true).await;
        }
        let mut offset = extent.offset;
        for run in self.client.map(CONTEXT, extent.offset, extent.length).await? {
            if run.flags & ZERO == 0 {
                self.client.write_zeroes(offset, run.length, true).await?;
            }
            offset += run.length;
        }
        Ok(())
    }
}

#[async_trait]
impl DiskWriter for NbdWriter {
    async fn write(&self, offset: u64, data: Bytes) -> Result<()> {
        self.inside(Extent::new(offset, data.len() as u64))?;
        self.client.write(offset, data).await.map_err(|error| error.context(&self.label))
    }

    async fn zero(&self, extent: Extent) -> Result<()> {
        self.inside(extent)?;
        Self::zero(self, extent).await.map_err(|error| error.context(&self.label))
    }

    async fn sync(&self) -> Result<()> {
        self.client.flush().await.map_err(|error| error.context(&self.label))
    }
}
