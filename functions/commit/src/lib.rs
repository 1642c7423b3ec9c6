//! Commit: markers become a manifest, and creating `point.json` makes the recovery point.
//!
//! * **Consumes** `segments.transferred`.
//! * **Emits** `recovery_point.committed`.
//! * **Idempotency key:** the job; its plan names the one point it can make.
//! * **Permissions:** create and read in the vault; no platform, no delete.
//! * **What survives a crash:** a manifest that no point refers to. After the decision to seal, the job can only be completed.

mod build;
mod commit;
mod wiring;

pub use commit::Commit;
pub use wiring::functions;
