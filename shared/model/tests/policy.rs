//! What follows from policies. Tests are named by the rule they hold.

#[path = "policy/blackouts.rs"]
mod blackouts;
#[path = "policy/clock_changes.rs"]
mod clock_changes;
#[path = "policy/clocks.rs"]
mod clocks;
#[path = "policy/examples.rs"]
mod examples;
#[path = "policy/objectives.rs"]
mod objectives;
#[path = "policy/retention.rs"]
mod retention;
#[path = "policy/retention_properties.rs"]
mod retention_properties;
#[path = "policy/selection.rs"]
mod selection;
#[path = "policy/slots.rs"]
mod slots;
#[path = "policy/spread.rs"]
mod spread;
