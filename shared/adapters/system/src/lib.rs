//! The machine's own clock, random numbers and processors, as ports. A handler gets its time, keys and threads from
//! here in production and from the simulator in tests; nothing else in the product reads them.

mod clock;
mod cpu;
mod random;

pub use clock::SystemClock;
pub use cpu::CpuPool;
pub use random::SystemRandom;
