use std::{io::Write, process::ExitCode, sync::Arc};

use stillpoint_model::{DiskName, Error, ItemName, Result};
use stillpoint_reader::{CACHE_BYTES_MIN, PointReader};

use crate::{session::Session, when};

/// Bytes put together before they are printed.
const WINDOW_BYTES: u64 = 1 << 20;
/// Room for what is fetched ahead of what is printed.
const CACHE_BYTES: u64 = 4 * CACHE_BYTES_MIN;

pub async fn run(
    session: &Session,
    name: &ItemName,
    point: &str,
    disk: &DiskName,
    offset: u64,
    length: Option<u64>,
) -> Result<ExitCode> {
    let point = when::resolve(&session.vault, name, point).await?;
    let reader = PointReader::open(session.vault.clone(), Arc::clone(&session.cpu), &point, CACHE_BYTES).await?;
    let disk = reader.disk(disk)?;
    let size = disk.size_bytes();
    let end = length.map_or(size, |length| offset.saturating_add(length));
    if offset > end || end > size {
        return Err(Error::invalid(format!("disk {} has {size} bytes; bytes {offset} to {end} are not all on it", disk.name())));
    }
    let mut at = offset;
    while at < end {
        let length = (end - at).min(WINDOW_BYTES);
        let bytes = disk.read(at, length as usize).await?;
        // Unlike a result's text, half of the data is no data.
        std::io::stdout().write_all(&bytes).map_err(|error| Error::from(error).context("cannot write to stdout"))?;
        at += length;
    }
    std::io::stdout().flush().map_err(|error| Error::from(error).context("cannot write to stdout"))?;
    Ok(ExitCode::SUCCESS)
}
