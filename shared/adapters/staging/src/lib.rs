//! Targets of restores: images of this machine, and objects in stores. Each may have limits, which all disks that a process writes to
//! one target keep together.
//!
//! # Objects
//! A location that is a URL, as `s3://bucket/folder/os.raw`, is written as one object with all of the disk's bytes, zeros too: stores know no
//! holes. Its parts are the pages of the disk. Beside it, under `<object>.stillpoint-<job>/`, lie the id of the upload and, for each
//! segment, the ids of its parts, so that any process goes on with it or gives it up. The object is there when it is whole, or not at all.
//!
//! # What survives a crash
//! The records named above, and the parts they name. A store that is asked to can remove uploads that nobody completes; without that, what a
//! process sent between making an upload and its record stays there unseen.
//!
//! # Where two write one segment at once
//! Their bytes are the same. Stores that name parts by their bytes, or that know each by a name of its own, take either's. S3 with KMS
//! encryption does neither: there such a restore may fail as it completes, with nothing visible, and has to be repeated.

mod limited;
mod object;
mod target;
mod upload;
mod writer;

#[cfg(test)]
mod tests;

pub use object::is_object;
pub use target::Staging;
