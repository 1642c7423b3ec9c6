//! What of a disk must be read, as its export maps it.

use stillpoint_model::{EXTENTS_MAX, Error, Extent, ExtentList, Result};
use stillpoint_nbd::{Address, Client, Options, Run, ZERO};

const ALLOCATION: &str = "base:allocation";
/// Of `qemu:dirty-bitmap:…`.
const DIRTY: u32 = 1;
/// Mapped at once, so that memory is bounded whatever the disk: at 64 KiB a run, a few MiB.
const WINDOW_BYTES: u64 = 8 << 30;

/// A gap between extents is worth a request from so many bytes on.
const GAP_BYTES_MIN: u64 = 1 << 20;

/// All extents of an export that are dirty in `bitmap`, or without one all that may hold anything but zeros.
///
/// # Errors
/// `conflict` when the export has not the size it should have, or does not tell; as the connection.
pub(crate) async fn of(address: &Address, export: &str, size_bytes: u64, bitmap: Option<&str>) -> Result<Vec<Extent>> {
    let context = bitmap.map_or_else(|| ALLOCATION.to_owned(), |bitmap| format!("qemu:dirty-bitmap:{bitmap}"));
    let client = Client::connect(address, export, &[&context], &Options::default()).await?;
    if client.size_bytes() != size_bytes {
        return Err(Error::conflict(format!("disk {export} was resized while its snapshot was taken")));
    }
    if !client.has_context(&context) {
        if bitmap.is_some() {
            return Err(Error::internal(format!("QEMU exports disk {export} without {context}")));
        }
        return Ok(vec![Extent::new(0, size_bytes)]);
    }
    let mut extents = ExtentList::new(size_bytes, EXTENTS_MAX);
    let mut offset = 0;
    while offset < size_bytes {
        let window = WINDOW_BYTES.min(size_bytes - offset);
        for Run { length, flags } in client.map(&context, offset, window).await? {
            let is_wanted = if bitmap.is_some() { flags & DIRTY != 0 } else { flags & ZERO == 0 };
            if is_wanted {
                extents.push(Extent::new(offset, length));
            }
            offset += length;
        }
    }
    client.close().await;
    Ok(extents.finish())
}

/// Has QEMU keep nothing but `extents` of what the guest overwrites: nobody reads the rest. Should somebody, that is refused.
///
/// # Errors
/// As the connection.
pub(crate) async fn keep_only(address: &Address, export: &str, size_bytes: u64, extents: &[Extent]) -> Result<()> {
    let client = Client::connect(address, export, &[], &Options::default()).await?;
    let starts = extents.iter().map(|extent| extent.offset).chain([size_bytes]);
    let ends = [0].into_iter().chain(extents.iter().map(|extent| extent.end()));
    for (from, to) in ends.zip(starts).filter(|(from, to)| to.saturating_sub(*from) >= GAP_BYTES_MIN) {
        client.trim(from, to - from).await?;
    }
    client.close().await;
    Ok(())
}
