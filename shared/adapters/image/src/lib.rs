//! Platform `image`: disks that are raw files or block devices of this machine, and restores onto the same, into qcow2 images and onto NBD
//! exports.
//!
//! # Consistency
//! A file on a file system with reflinks (XFS, btrfs, …) is cloned in one atomic step, also while its machine runs; the
//! point shows what pulling the plug would have left. Any other file, and a block device, is read in place: refused while
//! QEMU's image locks say that a machine may write to it, and proven afterwards by [`stillpoint_ports::DiskReader::confirm`].
//! Several disks show one instant because none of them changed between the first look and the last clone.
//!
//! # What proves that a disk did not change
//! For a file: device, inode, size, modification and change time. A block device has no times of its own; its number, its
//! size and the kernel's count of sectors written and discarded stand in, and where the kernel does not count, a warning
//! says that nothing is proven.
//!
//! # What survives a crash
//! Everything made here is a hidden sibling named after its job, `.<file>.stillpoint-<job>.snapshot` or `….partial`, so
//! any later process finds and removes or resumes it. A restored file gets its final name in one atomic rename, complete
//! and synced.
//!
//! # Cancellation
//! File operations run on blocking threads and are not interrupted: one that had begun when its future was dropped
//! still ends, and what it made is found by the job's id.

mod blocking;
mod device;
mod disk;
mod extents;
mod handle;
mod hidden;
mod identity;
mod label;
mod lock;
mod platform;
mod reader;
mod reflink;
mod snapshot;
mod target;

#[cfg(test)]
mod tests;

pub use platform::ImagePlatform;
pub use target::ImageTarget;
