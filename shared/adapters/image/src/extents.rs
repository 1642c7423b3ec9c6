use std::{fs::File, io};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};
use stillpoint_model::{EXTENTS_MAX, Extent, ExtentList};

use crate::disk::Kind;

/// The parts of a disk that may hold anything but zeros, widened to whole chunks.
///
/// Exact for a file on a file system that tells its holes; everything for a block device and elsewhere.
pub(crate) fn data(file: &File, kind: Kind, size_bytes: u64) -> io::Result<Vec<Extent>> {
    match kind {
        Kind::Device => Ok(vec![Extent::new(0, size_bytes)]),
        Kind::File => gather(|offset| next(file, offset), size_bytes, EXTENTS_MAX),
    }
}

/// Walks from extent to extent.
fn gather(mut next: impl FnMut(u64) -> io::Result<Option<Extent>>, size_bytes: u64, most: usize) -> io::Result<Vec<Extent>> {
    let mut extents = ExtentList::new(size_bytes, most);
    let mut offset = 0;
    while offset < size_bytes {
        let Some(extent) = next(offset)? else { break };
        offset = extent.end();
        extents.push(extent);
    }
    Ok(extents.finish())
}

/// The first data at or after `offset`; `None` when only a hole follows.
fn next(file: &File, offset: u64) -> io::Result<Option<Extent>> {
    let start = match seek(file, SeekFrom::Data(offset)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // The file system cannot tell: all that is left counts as data.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(Extent::new(offset, u64::MAX - offset))),
        Err(error) => return Err(error.into()),
    };
    match seek(file, SeekFrom::Hole(start)) {
        Ok(end) => Ok((end > start).then(|| Extent::new(start, end - start))),
        // Cut short meanwhile, which the reader notices.
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use stillpoint_model::geometry::CHUNK_BYTES;

    use super::*;

    /// Every `step` bytes one byte of data.
    fn dotted(step: u64, size_bytes: u64) -> impl Fn(u64) -> io::Result<Option<Extent>> {
        move |offset| {
            Ok(Some(offset.div_ceil(step) * step).filter(|start| *start < size_bytes).map(|start| Extent::new(start, 1)))
        }
    }

    #[test]
    fn holes_are_left_out_and_data_is_widened_to_chunks() {
        let file = tempfile::tempfile().unwrap();
        let size_bytes = 64 * CHUNK_BYTES + 512;
        file.set_len(size_bytes).unwrap();
        assert_eq!(data(&file, Kind::File, size_bytes).unwrap(), [], "an empty disk has nothing to read");
        file.write_all_at(&[1; 10], 3 * CHUNK_BYTES + 100).unwrap();
        file.write_all_at(&[1; 512], size_bytes - 512).unwrap();
        let found = data(&file, Kind::File, size_bytes).unwrap();
        assert_eq!(found, [Extent::new(3 * CHUNK_BYTES, CHUNK_BYTES), Extent::new(64 * CHUNK_BYTES, 512)]);
        assert_eq!(data(&file, Kind::Device, size_bytes).unwrap(), [Extent::new(0, size_bytes)]);
    }

    #[test]
    fn more_holes_than_a_plan_holds_make_coarser_extents_and_lose_nothing() {
        let (step, size_bytes) = (4 * CHUNK_BYTES, 4000 * CHUNK_BYTES + 512);
        let exact = gather(dotted(step, size_bytes), size_bytes, 5000).unwrap();
        assert_eq!(exact.len(), 1001);
        for most in [1, 7, 100, 999] {
            let coarse = gather(dotted(step, size_bytes), size_bytes, most).unwrap();
            assert!(coarse.len() <= most);
            assert!(coarse.windows(2).all(|pair| pair[0].end() < pair[1].offset) && coarse.last().unwrap().end() <= size_bytes);
            let covered = |extent: &Extent| coarse.iter().any(|wide| wide.offset <= extent.offset && extent.end() <= wide.end());
            assert!(exact.iter().all(covered));
        }
    }
}
