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
mod transfer;

use stillpoint_events::Function;
use stillpoint_handler::Functions;
use stillpoint_jobs::Wiring;

pub use transfer::Transfer;

/// The function over its ports.
#[must_use]
pub fn functions(wiring: &Wiring) -> Functions {
    let Wiring { engine, platforms, cpu, progress, level, .. } = wiring.clone();
    Functions::default().with(Function::Transfer, Transfer::new(engine, platforms, cpu, progress, level))
}
