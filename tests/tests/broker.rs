//! RabbitMQ: what is declared there, publishing, workers and dead letters, against a real node. And what forged messages can do,
//! without one.

#![expect(clippy::await_holding_lock, reason = "each test has a runtime of its own; the node's lock is what tests wait for")]

#[cfg(test)]
#[path = "broker/bench.rs"]
mod bench;
#[cfg(test)]
#[path = "broker/dead.rs"]
mod dead;
#[cfg(test)]
#[path = "broker/deliveries.rs"]
mod deliveries;
#[cfg(test)]
#[path = "broker/forged.rs"]
mod forged;
#[cfg(test)]
#[path = "broker/momentary.rs"]
mod momentary;
#[cfg(test)]
#[path = "broker/outages.rs"]
mod outages;
#[cfg(test)]
#[path = "broker/publishing.rs"]
mod publishing;
#[cfg(test)]
#[path = "broker/scripted.rs"]
mod scripted;
#[cfg(test)]
#[path = "broker/topology.rs"]
mod topology;
