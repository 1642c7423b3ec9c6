//! The life of recovery points through the binary: why and until when they are kept, pruned and brought back, held, deleted, and
//! with their machine.

#[cfg(test)]
#[path = "e2e_points/immutable.rs"]
mod immutable;
#[cfg(test)]
#[path = "e2e_points/lives.rs"]
mod lives;
#[cfg(test)]
#[path = "e2e_points/machines.rs"]
mod machines;
#[cfg(test)]
#[path = "e2e_points/place.rs"]
mod place;
#[cfg(test)]
#[path = "e2e_points/settings.rs"]
mod settings;
