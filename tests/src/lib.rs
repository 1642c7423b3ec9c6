//! A lab for the end-to-end tests: the real binary, on real disk images, in a temporary folder of its own.
//!
//! A [`Lab`] is that folder. A [`Host`] in it is one machine that an operator works at: its own home folder and environment, and
//! nothing of the machine the tests run on. A [`Host`] runs commands to their end ([`Done`]) or holds them while they run
//! ([`Running`]), to be interrupted. [`disk`] makes and compares images, [`vault_files`] looks at a vault from outside, and
//! [`Mounted`] and [`LoopDevice`] lend small file systems and block devices that vanish with the test, however it ends. [`servers`]
//! are object stores and a broker, [`live`] has virtual machines, and [`lambda`] runs the functions as AWS Lambda does.

mod binary;
pub mod disk;
mod done;
mod host;
pub mod lambda;
pub mod live;
mod mounted;
mod partitioned;
mod running;
pub mod servers;
pub mod vault_files;

pub use binary::{repository, stillpoint_binary};
pub use done::{Done, number, text};
pub use host::{Host, Lab};
pub use mounted::{LoopDevice, Mounted};
pub use partitioned::{partitioned, tool};
pub use running::{PATIENCE, Running};
