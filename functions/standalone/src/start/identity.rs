//! What tells one machine from another.

use super::{
    line::{Argument, Line},
    tree::Parts,
};

/// First three bytes of QEMU's own MAC addresses, which are local.
const PREFIX: &str = "52:54:00";

/// A new identity: as many random bytes as are asked for.
pub struct Fresh(pub Box<dyn FnMut() -> [u8; 16]>);

impl std::fmt::Debug for Fresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fresh")
    }
}

impl Fresh {
    /// A MAC address.
    pub fn mac(&mut self) -> String {
        let [a, b, c, ..] = (self.0)();
        format!("{PREFIX}:{a:02x}:{b:02x}:{c:02x}")
    }

    /// A random one (RFC 9562, version 4).
    pub fn uuid(&mut self) -> String {
        let mut bytes = (self.0)();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }
}

/// Gives the machine its name, and with `fresh` another UUID and other MAC addresses.
pub fn rename(line: &mut Line, name: &str, fresh: Option<Fresh>) {
    match line.arguments_mut().iter_mut().find(|argument| argument.option == "name") {
        Some(argument) => argument.value = Some(renamed(argument.value(), name)),
        None => line.push(Argument::new("name", name)),
    }
    let Some(mut fresh) = fresh else { return };
    // Where a UUID stands twice, it stays one.
    let uuid = fresh.uuid();
    for argument in line.arguments_mut() {
        match argument.option.as_str() {
            "uuid" => argument.value = Some(uuid.clone()),
            "device" | "nic" | "net" | "netdev" | "smbios" => {
                let mut parts = Parts::read(argument.value());
                parts.change(&mut |key, _| match key {
                    "mac" | "macaddr" => Some(fresh.mac()),
                    "uuid" => Some(uuid.clone()),
                    _ => None,
                });
                argument.value = Some(parts.write());
            }
            _ => {}
        }
    }
}

/// `-name old,debug-threads=on` and `-name guest=old,…` keep what follows.
fn renamed(value: &str, name: &str) -> String {
    let mut parts = Parts::read(value);
    if let Parts::Pairs(pairs) = &mut parts {
        match pairs.iter_mut().enumerate().find(|(position, (key, value))| key == "guest" || *position == 0 && value.is_none()) {
            Some((_, (_, Some(guest)))) => *guest = name.to_owned(),
            Some((_, (first, None))) => *first = name.to_owned(),
            None => pairs.insert(0, ("guest".to_owned(), Some(name.to_owned()))),
        }
    }
    parts.write()
}
