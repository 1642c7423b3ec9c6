//! What the timer starts, and what it says of what did not happen.

#[cfg(test)]
#[path = "schedule/alarms.rs"]
mod alarms;
#[cfg(test)]
#[path = "schedule/clocks.rs"]
mod clocks;
#[cfg(test)]
#[path = "schedule/deaths.rs"]
mod deaths;
#[cfg(test)]
#[path = "schedule/ended.rs"]
mod ended;
#[cfg(test)]
#[path = "schedule/fleet.rs"]
mod fleet;
#[cfg(test)]
#[path = "schedule/fulls.rs"]
mod fulls;
#[cfg(test)]
#[path = "schedule/kept.rs"]
mod kept;
#[cfg(test)]
#[path = "schedule/life.rs"]
mod life;
#[cfg(test)]
#[path = "schedule/limits.rs"]
mod limits;
#[cfg(test)]
#[path = "schedule/pace.rs"]
mod pace;
#[cfg(test)]
#[path = "schedule/requests.rs"]
mod requests;
#[cfg(test)]
#[path = "schedule/slots.rs"]
mod slots;
#[cfg(test)]
#[path = "schedule/tasks.rs"]
mod tasks;
