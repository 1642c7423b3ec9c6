//! `collect`: nothing that is needed goes, whatever happens at the same time and whenever a process dies; all that is not goes in
//! the end.

#[cfg(test)]
#[path = "collect/beside.rs"]
mod beside;
#[cfg(test)]
#[path = "collect/deaths.rs"]
mod deaths;
#[cfg(test)]
#[path = "collect/protocol.rs"]
mod protocol;
#[cfg(test)]
#[path = "collect/repack.rs"]
mod repack;
#[cfg(test)]
#[path = "collect/reprieve.rs"]
mod reprieve;
#[cfg(test)]
#[path = "collect/time.rs"]
mod time;
#[cfg(test)]
#[path = "collect/vaults.rs"]
mod vaults;
