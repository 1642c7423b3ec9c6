//! `verify`: what is missing or corrupt is found and named with exactly the points it hurts; the next backup stores it again; what
//! comes back is sound; and nothing of this depends on who dies when.

#[cfg(test)]
#[path = "verify/beside.rs"]
mod beside;
#[cfg(test)]
#[path = "verify/deaths.rs"]
mod deaths;
#[cfg(test)]
#[path = "verify/deliveries.rs"]
mod deliveries;
#[cfg(test)]
#[path = "verify/findings.rs"]
mod findings;
#[cfg(test)]
#[path = "verify/repairs.rs"]
mod repairs;
#[cfg(test)]
#[path = "verify/rotation.rs"]
mod rotation;
#[cfg(test)]
#[path = "verify/scene.rs"]
mod scene;
