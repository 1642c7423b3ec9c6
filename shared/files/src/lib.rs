//! Reads single files out of disk images, in user space, without mounting and without writing anything.
//!
//! A [`Source`] is the bytes of a disk. [`partitions`] finds its parts, [`identify`] says what each holds, and [`Volume::open`] reads
//! ext2, ext3, ext4, FAT and NTFS; a journal that was not replayed is applied in memory. [`CopyOut`] writes files and folders out.
//!
//! What is read may have been made to harm: parsers run within [`guarded`], which turns their panics into errors, read no more than
//! a [budget](Window::allow), and nothing that a file system says is taken as a name or size before it was checked. Everything here
//! blocks its thread.

mod copy;
mod entry;
mod ext;
mod fat;
mod guard;
mod identify;
mod nt;
mod partitions;
mod path;
mod source;
mod volume;

pub use copy::{Copied, CopyOut};
pub use entry::{Entry, EntryKind, Modified, shown};
pub use guard::guarded;
pub use identify::{Content, identify};
pub use partitions::{Partition, Table, TableKind, partitions};
pub use path::VolumePath;
pub use source::{Source, Window};
pub use volume::Volume;
