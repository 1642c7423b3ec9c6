//! Running machines on platforms `qemu` and `libvirt`: what a backup of one holds, what it costs the guest, and what it leaves behind.

#[path = "e2e_live/adapter.rs"]
mod adapter;
#[path = "e2e_live/consistency.rs"]
mod consistency;
#[path = "e2e_live/estate.rs"]
mod estate;
#[path = "e2e_live/faults.rs"]
mod faults;
#[path = "e2e_live/frozen.rs"]
mod frozen;
#[path = "e2e_live/hands.rs"]
mod hands;
#[path = "e2e_live/instant.rs"]
mod instant;
#[path = "e2e_live/libvirt.rs"]
mod libvirt;
#[path = "e2e_live/refused.rs"]
mod refused;
#[path = "e2e_live/rounds.rs"]
mod rounds;
#[path = "e2e_live/tracking.rs"]
mod tracking;
#[path = "e2e_live/workers.rs"]
mod workers;
