use std::{io::Write, process::ExitCode, sync::Arc};

use stillpoint_format::DiskMap;
use stillpoint_model::{
    DiskName, Error, ItemName, Result,
    geometry::{CHUNK_BYTES, PAGE_BYTES, page_range},
};
use stillpoint_ports::execute;
use stillpoint_vault::ChunkRead;

use crate::{session::Session, when};

/// Bytes put together before they are printed.
const WINDOW_BYTES: u64 = 8 << 20;

pub async fn run(
    session: &Session,
    name: &ItemName,
    point: &str,
    disk: &DiskName,
    offset: u64,
    length: Option<u64>,
) -> Result<ExitCode> {
    let point = when::resolve(&session.vault, name, point).await?;
    let manifest = session.vault.manifest(&point).await?;
    let map = manifest.disks.iter().find(|map| map.name == *disk);
    let map = map.ok_or_else(|| Error::missing(format!("point {} has no disk {disk}", point.id)))?;
    let end = length.map_or(map.size_bytes, |length| offset.saturating_add(length));
    if offset > end || end > map.size_bytes {
        return Err(Error::invalid(format!(
            "disk {disk} has {} bytes; bytes {offset} to {end} are not all on it",
            map.size_bytes
        )));
    }
    let mut at = offset;
    while at < end {
        let page_end = page_range((at / PAGE_BYTES) as u32, map.size_bytes).1;
        let to = end.min(page_end).min(at + WINDOW_BYTES);
        let bytes = window(session, &manifest.packs, map, at, to).await?;
        // Unlike a result's text, half of the data is no data.
        std::io::stdout().write_all(&bytes).map_err(|error| Error::from(error).context("cannot write to stdout"))?;
        at = to;
    }
    std::io::stdout().flush().map_err(|error| Error::from(error).context("cannot write to stdout"))?;
    Ok(ExitCode::SUCCESS)
}

/// Bytes `[from, to)` of a disk, all of one page.
async fn window(session: &Session, packs: &[stillpoint_format::PackUse], map: &DiskMap, from: u64, to: u64) -> Result<Vec<u8>> {
    let mut window = vec![0; (to - from) as usize];
    let number = from / PAGE_BYTES;
    let Some(place) = map.pages.get(number as usize).copied().flatten() else { return Ok(window) };
    let read = session.vault.pages(packs, &[place]).await.pop();
    let page = read.ok_or_else(|| Error::internal("a page was not read"))??;
    let start = number * PAGE_BYTES;
    let wanted = ((from - start) / CHUNK_BYTES) as usize..(to - start).div_ceil(CHUNK_BYTES) as usize;
    for read in ChunkRead::plan(&page, wanted) {
        let sealed = session.vault.sealed(&read).await?;
        let keys = Arc::clone(session.vault.keys());
        let pool = Arc::default();
        for (index, bytes) in execute(&*session.cpu, move || read.decode(&keys, &sealed, &pool)).await?? {
            let at = start + index as u64 * CHUNK_BYTES;
            let (first, last) = (at.max(from), (at + bytes.len() as u64).min(to));
            if first < last {
                let source = &bytes[(first - at) as usize..(last - at) as usize];
                window[(first - from) as usize..(last - from) as usize].copy_from_slice(source);
            }
        }
    }
    Ok(window)
}
