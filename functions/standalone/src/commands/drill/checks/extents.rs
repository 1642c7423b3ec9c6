//! Sparse files: what is not a hole.

use std::{fs::File, ops::Range, os::unix::fs::FileExt, path::Path};

use rustix::{fs::SeekFrom, io::Errno};
use stillpoint_format::is_zero;
use stillpoint_model::Result;

/// Read at once.
const PIECE_BYTES: u64 = 1 << 20;

/// The next bytes at or after `range.start` that may be something else than zeros, at most a piece of them; `None` where there are none.
pub fn next_data(file: &File, range: &Range<u64>) -> Result<Option<Range<u64>>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(range.start)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => range.start,
        Err(error) => return Err(std::io::Error::from(error).into()),
    };
    Ok((start < range.end).then(|| start..range.end.min(start + PIECE_BYTES)))
}

/// The first byte of a piece of `range` that holds something else than zeros.
pub fn first_not_zero(file: &File, range: Range<u64>) -> Result<Option<u64>> {
    let mut rest = range;
    let mut piece = Vec::new();
    while let Some(data) = next_data(file, &rest)? {
        piece.resize((data.end - data.start) as usize, 0);
        file.read_exact_at(&mut piece, data.start)?;
        if !is_zero(&piece) {
            return Ok(Some(data.start));
        }
        rest.start = data.end;
    }
    Ok(None)
}

/// Copies a part of a file into a file of its own, holes as holes; `go_on` may end it.
pub fn extract(from: &File, range: Range<u64>, to: &Path, go_on: impl Fn() -> Result<()>) -> Result<()> {
    let copy = File::create_new(to)?;
    copy.set_len(range.end - range.start)?;
    let (start, mut rest) = (range.start, range);
    let mut piece = Vec::new();
    while let Some(data) = next_data(from, &rest)? {
        go_on()?;
        piece.resize((data.end - data.start) as usize, 0);
        from.read_exact_at(&mut piece, data.start)?;
        if !is_zero(&piece) {
            copy.write_all_at(&piece, data.start - start)?;
        }
        rest.start = data.end;
    }
    Ok(())
}
