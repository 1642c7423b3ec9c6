//! Platform `libvirt`: domains by their names.
//!
//! libvirt holds the monitor, so nothing is put into QEMU behind its back: a snapshot is a backup job of libvirt's in pull mode, begun with
//! a checkpoint, which is a bitmap on each disk. libvirt's job is not made to spare the guest: where scratch space ends it **pauses** it. So
//! space is looked at before, and a small program outlives us and gives the job up, and lets the guest go on, when space runs out.
//!
//! All is done through `virsh`, so that no library has to be there where no libvirt is.

mod anew;
mod backup;
mod checkpoint;
mod domain;
mod firmware;
mod handle;
mod hypervisor;
mod names;
mod offline;
mod platform;
mod settings;
mod space;
mod virsh;
mod watch;

pub use anew::{Definition, Identity, NewDomain, RestoredDisk};
pub use hypervisor::Hypervisor;
pub use platform::LibvirtPlatform;
pub(crate) use virsh::DomainAgent;
