//! Networks of the old machine, which a machine that is only looked at does without.

use super::{
    line::{Argument, Line},
    tree::Parts,
};

/// Options that are a network, or a network with its device.
const NETWORKS: [&str; 3] = ["netdev", "nic", "net"];

/// Takes all of them away, with the devices at them, and the one that QEMU would give a machine that names none.
pub fn remove(line: &mut Line) {
    line.retain(|argument| match argument.option.as_str() {
        "device" => !is_at_network(&Parts::read(argument.value())),
        option => !NETWORKS.contains(&option),
    });
    line.push(Argument::new("nic", "none"));
}

fn is_at_network(device: &Parts) -> bool {
    device.get("netdev").is_some()
}
