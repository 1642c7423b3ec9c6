//! Transfer: a segment's extents become chunks, frames, a pack, and one marker.
//!
//! * **Consumes** `segment.planned`.
//! * **Emits** `segments.transferred`, when its marker was the last.
//! * **Idempotency key:** job and segment. A segment with a marker is not read again.
//! * **Permissions:** read the snapshot at its site; create and read in the vault; no delete.
//! * **What survives a crash:** packs without a marker, which nothing refers to. The next try writes its own under its own
//!   attempt id.
//!
//! # Memory
//! One page of disk (32 MiB) and one pack (64 MiB) per segment in flight, whatever the disk's size.

mod basis;
mod buffers;
mod deltas;
mod draft;
mod packer;
mod scan;
mod segment;
mod similar;
mod throttle;
mod transfer;
mod wiring;

pub use transfer::Transfer;
pub use wiring::functions;
