//! Backups and restores by workers, through a real broker: the same results as in one process, whatever dies on the way.

#[path = "e2e_broker/cancelled.rs"]
mod cancelled;
#[path = "e2e_broker/dead_letters.rs"]
mod dead_letters;
#[path = "e2e_broker/killed.rs"]
mod killed;
#[path = "e2e_broker/orders.rs"]
mod orders;
#[path = "e2e_broker/outages.rs"]
mod outages;
#[path = "e2e_broker/paired.rs"]
mod paired;
#[path = "e2e_broker/plant.rs"]
mod plant;
#[path = "e2e_broker/refused.rs"]
mod refused;
#[path = "e2e_broker/scheduled.rs"]
mod scheduled;
#[path = "e2e_broker/story.rs"]
mod story;
