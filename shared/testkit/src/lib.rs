//! Fakes for tests: a whole installation in memory, in one thread, from one seed, with faults where a test wants them.
//!
//! Nothing here expects calls. A [`FaultyStore`] is a store whose calls are counted and can be made to fail, lie or be the last
//! ones of their process; what was written lies in [`Content`] and outlives the process. [`MemoryPlatform`] and [`MemoryTarget`]
//! are a hypervisor and a place for restored disks that outlive it too. A [`World`] is one process over all of them: it backs up,
//! restores, dies and is started again. A [`Courier`] delivers its events in the wrong order, twice, or not at all.

mod clock;
mod content;
mod courier;
mod cpu;
mod disk;
mod faulty;
mod lying;
mod pair;
mod platform;
mod random;
mod rates;
mod regions;
mod target;
mod timer;
mod tracking;
mod turns;
mod world;

pub use clock::TestClock;
pub use content::Content;
pub use courier::{Courier, Manners};
pub use cpu::InlineCpu;
pub use disk::Disk;
pub use faulty::{Call, CallKind, Fault, FaultyStore};
pub use lying::{Lie, LyingStore};
pub use platform::MemoryPlatform;
pub use random::TestRandom;
pub use rates::Rates;
pub use regions::MemoryRegions;
pub use target::MemoryTarget;
pub use timer::SITE;
pub use world::{ITEM_PLATFORM, Verdict, World};
