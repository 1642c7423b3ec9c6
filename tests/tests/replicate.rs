//! `replicate`: the replica has all that it shows, with the primary gone; whoever dies when, and whatever the primary deletes.

#[cfg(test)]
#[path = "replicate/copies.rs"]
mod copies;
#[cfg(test)]
#[path = "replicate/deaths.rs"]
mod deaths;
#[cfg(test)]
#[path = "replicate/follow.rs"]
mod follow;
#[cfg(test)]
#[path = "crash_points/machine.rs"]
mod machine;
#[cfg(test)]
#[path = "replicate/pairs.rs"]
mod pairs;
#[cfg(test)]
#[path = "replicate/promotion.rs"]
mod promotion;
#[cfg(test)]
#[path = "replicate/retention.rs"]
mod retention;
#[cfg(test)]
#[path = "replicate/timer.rs"]
mod timer;
