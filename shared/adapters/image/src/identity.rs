use std::{
    fs::{File, Metadata},
    io,
    os::unix::fs::MetadataExt,
};

use serde::{Deserialize, Serialize};

use crate::{device, disk::Kind};

const NS_PER_SECOND: i128 = 1_000_000_000;

/// What changes when a disk is written to or replaced. Times are nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The file's file system, or the block device's own number.
    pub(crate) dev: u64,
    /// 0 for a block device.
    pub(crate) inode: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// 0 for a block device.
    pub(crate) mtime_ns: i128,
    /// 0 for a block device.
    pub(crate) ctime_ns: i128,
    /// Sectors written to a block device, if the kernel counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sectors_written: Option<u64>,
}

impl Identity {
    /// The identity of an open disk. A block device's dirty pages are written out first, so that the kernel counts them.
    pub(crate) fn of(file: &File, kind: Kind) -> io::Result<Self> {
        if kind == Kind::File {
            return file.metadata().map(|metadata| Self::of_file(&metadata));
        }
        file.sync_all()?;
        let rdev = file.metadata()?.rdev();
        let size = device::size_bytes(file)?;
        Ok(Self { dev: rdev, inode: 0, size, mtime_ns: 0, ctime_ns: 0, sectors_written: device::sectors_written(file, rdev) })
    }

    /// The identity of a regular file.
    pub(crate) fn of_file(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * NS_PER_SECOND + i128::from(ns);
        Self {
            dev: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            sectors_written: None,
        }
    }

    /// Whether the bytes are the same, whatever became of owner, mode and mount since: enough for a file that only
    /// Stillpoint knows of.
    pub(crate) fn same_content(self, other: Self) -> bool {
        (self.inode, self.size, self.mtime_ns) == (other.inode, other.size, other.mtime_ns)
    }
}
