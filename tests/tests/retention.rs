//! Retention: what a preview says is what `prune` does, point by point; nothing is lost under any clock, any kill, any two at once.
//! Tests are named by the rule they hold.

#[cfg(test)]
#[path = "retention/alarms.rs"]
mod alarms;
#[cfg(test)]
#[path = "retention/beside.rs"]
mod beside;
#[cfg(test)]
#[path = "retention/clocks.rs"]
mod clocks;
#[cfg(test)]
#[path = "retention/deaths.rs"]
mod deaths;
#[cfg(test)]
#[path = "retention/estate.rs"]
mod estate;
#[cfg(test)]
#[path = "retention/records.rs"]
mod records;
#[cfg(test)]
#[path = "retention/rules.rs"]
mod rules;
#[cfg(test)]
#[path = "retention/year.rs"]
mod year;
