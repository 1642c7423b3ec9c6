use std::path::Path;

use async_trait::async_trait;
use stillpoint_model::{DiskName, Error, ErrorKind, Result};
use stillpoint_nbd::{Address, Client, Options};
use stillpoint_ports::{DiskReader, DiskSnapshot};

/// Bytes asked for at once. QEMU answers in the thread that ends the guest's requests: with 2 MiB each of these waits for milliseconds.
const REQUEST_BYTES: u32 = 256 << 10;

/// One disk of a snapshot, over NBD.
pub(crate) struct NbdReader {
    client: Client,
    name: DiskName,
}

impl NbdReader {
    /// Connects.
    ///
    /// # Errors
    /// `missing` when the snapshot is gone, `conflict` when it is of another size.
    pub(crate) async fn open(disk: &DiskSnapshot, nbd: &Path, export: &str) -> Result<Self> {
        let name = disk.name.clone();
        if !nbd.exists() {
            return Err(Error::missing(format!("the snapshot of disk {name} is gone: nothing listens at {}", nbd.display())));
        }
        let options = Options { read_bytes: REQUEST_BYTES, ..Options::default() };
        let client = Client::connect(&Address::unix(nbd)?, export, &[], &options).await?;
        if client.size_bytes() != disk.size_bytes {
            return Err(Error::conflict(format!(
                "disk {name} has {} bytes in its snapshot, not {}",
                client.size_bytes(),
                disk.size_bytes
            )));
        }
        Ok(Self { client, name })
    }
}

#[async_trait]
impl DiskReader for NbdReader {
    async fn read(&self, offset: u64, buffer: Vec<u8>) -> Result<Vec<u8>> {
        self.client.read(offset, buffer).await.map_err(|error| match error.kind() {
            // How QEMU says that the filter could not copy a block in time.
            ErrorKind::Invalid | ErrorKind::Denied => Error::conflict(format!(
                "the snapshot of disk {} broke: its scratch file could not take a block that the guest overwrote (is its file system full or slow?)",
                self.name
            ))
            .with_source(error),
            _ => error,
        })
    }

    /// A filter that could not copy a block lets nothing be read any more: what was read before is of the instant.
    async fn confirm(&self) -> Result<()> {
        Ok(())
    }
}
