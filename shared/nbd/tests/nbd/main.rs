//! Client and server against each other and against those of others: QEMU's, nbdkit and libnbd, which `tests/run` installs.

mod bitmaps;
mod client;
mod conformance;
mod disk;
mod faults;
mod hostile;
mod server;
mod servers;
mod tls;
