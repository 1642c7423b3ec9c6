//! The Network Block Device protocol, asynchronous: a [`Client`] that pulls and pushes disks, with maps of what is allocated and what
//! changed, and a server ([`serve`]) of anything that is an [`Export`].
//!
//! Spoken are fixed newstyle negotiation, TLS, structured replies and metadata contexts, over Unix and TCP sockets. The other side is
//! not trusted: every length it states is checked before memory is taken for it, what breaks the protocol ends the connection, and
//! every wait has a deadline.

mod address;
mod client;
mod run;
mod server;
mod stream;
mod tls;
mod wire;

pub use address::Address;
pub use client::{BlockSizes, Client, Options};
pub use run::{HOLE, Run, ZERO};
pub use server::{Export, Exports, Listener, ServeOptions, serve, serve_stream};
pub use stream::Stream;
pub use tls::{Identity, Tls, server_settings};
