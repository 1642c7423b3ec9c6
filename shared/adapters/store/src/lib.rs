//! A vault's object store: any `object_store` behind a meter, with create-if-absent and its unknown outcomes settled
//! in one place.
//!
//! # Guarantees
//! * [`Store::create`] never overwrites. When it returns `Ok`, the object exists with exactly these bytes and, in a local
//!   directory, file and folder were synced. When it returns `conflict`, somebody else's bytes are there.
//! * Listings are complete and sorted by name, or an error; never short.
//! * Dropping a future half-way leaves either no object or the whole object.

mod create;
mod failure;
mod meter;
mod open;
mod probe;
mod store;

pub use meter::Meter;
pub use open::Access;
pub use store::{Entry, Listing, Store};
