//! Live machines: real QEMU processes with real disks, as an operator runs them, for the product to back up.
//!
//! | | what it is | starts in |
//! |---|---|---|
//! | [`Guest`] | a [`Machine`] in which Linux runs: a guest agent, file systems, a database, two disks written in lockstep | 1 s |
//! | [`Machine::idle`] | a machine that never starts its processor; the test writes to its disks from below | 0.2 s |
//! | [`StorageDaemon`] | no machine, only disks: a `qemu-storage-daemon`, whose exports the test writes to as a guest would | 0.1 s |
//! | [`Domain`] | a guest of a libvirt of its own, booted through the kernel each time | 10 s |
//!
//! Each but the last has a QMP socket for the product and another monitor for the test, since a QMP socket serves one client. The guest has two
//! agents for the same reason: one for the product, one through which the test runs commands, also while the file systems are
//! frozen. All sockets and logs lie in a folder that goes with the value, and no process outlives it, however the test ends.
//!
//! A [`Relay`] in front of such a socket, or of an agent's, refuses commands, swallows answers, closes connections and holds commands
//! while the test kills the product.
//!
//! The guest's system is in memory, so its disks are data only. Its memory was saved once, when it had booted, and each [`Guest`]
//! begins there; disks are plugged in afterwards. So booting again after a crash, and looking at restored disks, take one second
//! too. Only [`Guest::cold`], [`Guest::with_variables`] and [`Guest::reset`] boot through the firmware and the kernel. A [`Started`] machine is one that the product made of
//! another: its start script begins with a boot, too.

mod disk;
mod graph;
mod guest;
mod libvirt;
mod machine;
mod program;
mod qmp;
mod relay;
mod saved;
mod shell;
mod started;
mod storage_daemon;

pub use disk::{Disk, Format, pair_number};
pub use graph::{Bitmap, Leftovers};
pub use guest::{Agent, Database, Guest};
pub use libvirt::Domain;
pub use machine::Machine;
pub use qmp::Monitor;
pub use relay::{At, Fault, Relay};
pub use shell::{AgentClient, Output};
pub use started::Started;
pub use storage_daemon::StorageDaemon;
