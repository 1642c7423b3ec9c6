//! Platform `qemu`: running machines, reached through QEMU's monitor (QMP), its NBD server and the guest agent.
//!
//! A snapshot is a copy-before-write filter over every disk, put in for all disks by one command, while the guest runs on: what the guest
//! overwrites from then on is copied to a scratch file first. A scratch place that is full, slow or broken breaks the snapshot and never
//! the guest (`on-cbw-error=break-snapshot`). Disks are read over NBD; what changed since an earlier snapshot comes from a dirty bitmap,
//! one for each recovery point, named for the job and instant it was begun at: nothing else is remembered at the host, and a name that is
//! not found means that all is read and compared.
//!
//! Machines that are off are read in the same way through `qemu-storage-daemon`, which holds QEMU's image locks meanwhile.
//!
//! Platform `libvirt` ([`LibvirtPlatform`]) has the same machines under libvirt's hand, which must then be asked for everything. It shares
//! the way a guest is brought to rest, the reading, and what is done with a machine that is off.
//!
//! Whatever is made carries the job's id, so that anybody can find it and take it away after a crash.

mod agent;
mod bitmaps;
mod configuration;
mod cut;
mod exclusive;
mod extents;
mod firmware;
mod handle;
mod libvirt;
mod line;
mod machine;
mod monitor;
mod names;
mod offline;
mod overlay;
mod platform;
mod power;
mod qmp;
mod quiesce;
mod reader;
mod scratch;
mod scripts;
mod settings;
mod teardown;
mod watchdog;

pub use agent::agent_answers;
pub use libvirt::{Definition, Hypervisor, Identity, LibvirtPlatform, NewDomain, RestoredDisk};
pub use monitor::{Filling, Monitor};
pub use overlay::Overlay;
pub use platform::QemuPlatform;
pub use power::{is_on, power_down};
