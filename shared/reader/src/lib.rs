//! Reads the disks of a recovery point at any offset, for whatever serves a point on line: ranges on the screen, single files,
//! network block devices.
//!
//! A [`PointReader`] holds the point's map and one cache of bounded size for all its disks; a [`DiskReader`] is one of them. Frames are
//! fetched in the same runs and checked in the same way as for a restore, each by one request at a time however many wait for it.
//! Zeros are known from the map and never fetched. Streams that read on and on are read ahead of, within bounds.

mod ahead;
mod cache;
mod disk;
mod frames;
mod pages;
mod parts;
mod point;

pub use disk::{DiskReader, Stretch};
pub use point::{CACHE_BYTES_MIN, PointReader};
