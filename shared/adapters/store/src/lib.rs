//! A vault's object store: meter, throttle and retry before any `object_store`, with create-if-absent and its unknown
//! outcomes settled in one place.
//!
//! # Guarantees
//! * [`Store::create`] never overwrites. When it returns `Ok`, the object exists with exactly these bytes and, in a local
//!   directory, file and folder were synced. When it returns `conflict`, somebody else's bytes are there.
//! * Listings are complete and sorted by name, or an error; never short.
//! * Dropping a future half-way leaves either no object or the whole object.

mod cloud;
mod copy;
mod create;
mod directory;
mod failure;
mod limits;
mod meter;
mod object_lock;
mod open;
mod pace;
mod probe;
mod refusal;
mod s3;
mod settings;
mod store;
mod throttle;
mod unfinished;
mod upload;

pub use limits::Limits;
pub use meter::Meter;
pub use open::Access;
pub use settings::Environment;
pub use store::{Entry, Listing, Store};
pub use throttle::{Stream, Throttle};
pub use upload::Version;
