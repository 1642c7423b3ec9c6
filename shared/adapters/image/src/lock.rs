//! QEMU's image locks, seen from outside.
//!
//! QEMU keeps shared open-file-description locks on single bytes of a raw image (block/file-posix.c, `raw_apply_lock_bytes`):
//! byte 100 + n while it uses permission n, byte 200 + n while it lets nobody else use permission n. Nothing is ever
//! stored in those bytes, and asking takes no lock, so a running machine notices nothing.

use std::fs::File;

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};
use stillpoint_model::{Error, Result};

const USES: i64 = 100;
const KEEPS: i64 = 200;
const CONSISTENT_READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;
/// From the first byte of `USES` to the last of `KEEPS`; permissions are 0 to 4.
const ALL_BYTES: i64 = KEEPS + 4 - USES + 1;

/// Whether QEMU may change the image, or tells others that they would read nonsense.
pub(crate) fn may_change(image: &File) -> Result<bool> {
    for byte in [USES + WRITE, USES + RESIZE, KEEPS + CONSISTENT_READ] {
        if held(image, byte, 1)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether QEMU has the image open in any way that it guards.
pub(crate) fn in_use(image: &File) -> Result<bool> {
    held(image, USES, ALL_BYTES)
}

/// Whether somebody else holds any lock within the bytes. A file system without locks holds none.
fn held(image: &File, start: i64, length: i64) -> Result<bool> {
    // A write lock is in conflict with every lock. Only GETLK is asked, for which a read-only descriptor is enough.
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    match fcntl(image, FcntlArg::F_OFD_GETLK(&mut lock)) {
        Ok(_) => Ok(lock.l_type != libc::F_UNLCK as libc::c_short),
        Err(Errno::ENOLCK | Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(Error::from(std::io::Error::from(error)).context("cannot ask for image locks")),
    }
}
