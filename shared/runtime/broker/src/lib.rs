//! RabbitMQ: what exists there, publishing, workers that consume, and dead letters.
//!
//! # Guarantees
//! * A publish counts as done when the broker acknowledged it *and* did not return it; every publish has a deadline.
//! * A message is acknowledged after its effects are confirmed. So a message is handled at least once, and handlers may be
//!   repeated.
//! * Nothing here is the truth: a broker that loses everything delays jobs until the timer looks at their ledgers.

mod connection;
mod dead;
mod declare;
mod publisher;
mod topology;
mod worker;

pub use connection::Broker;
pub use dead::{DeadLetter, DeadLetters};
pub use publisher::Publisher;
pub use topology::{EXCHANGE, Place, SHARDS, Site, Topology};
pub use worker::{Worker, WorkerOptions};
