//! RabbitMQ: what is declared there, publishing, workers and dead letters, against a real node. And what forged messages can do,
//! without one.

#[path = "broker/bench.rs"]
mod bench;
#[path = "broker/dead.rs"]
mod dead;
#[path = "broker/deliveries.rs"]
mod deliveries;
#[path = "broker/forged.rs"]
mod forged;
#[path = "broker/outages.rs"]
mod outages;
#[path = "broker/publishing.rs"]
mod publishing;
#[path = "broker/scripted.rs"]
mod scripted;
#[path = "broker/topology.rs"]
mod topology;
