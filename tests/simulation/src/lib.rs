//! A whole installation in one thread, from one seed: workers, broker, timer, store, hypervisor, operators and time, with faults in all
//! of them. `README.md` says how it works.

mod actors;
mod agenda;
mod broker;
mod bug;
mod campaign;
mod deletions;
mod executor;
mod faults;
mod installation;
mod oracle;
mod pairs;
mod platform;
mod report;
mod simulation;
mod time;
mod trace;
mod under_way;
mod worker;

pub use campaign::Campaign;
pub use faults::Faults;
pub use pairs::PairSimulation;
pub use report::{Report, Tally};
pub use simulation::Simulation;
