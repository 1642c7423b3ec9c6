//! A machine that is only looked at: nothing reaches it, and it reaches nothing, but for what looks at it.

use std::path::Path;

use serde_json::json;

use super::{
    line::{Argument, Line},
    network,
    tree::Parts,
};

/// The files that whoever looks at it finds in its folder.
pub const SERIAL: &str = "serial";
pub const AGENT: &str = "agent";
/// Options through which it is seen or steered, or reaches something of its host's.
const OUTWARD: [&str; 25] = [
    "D",
    "chroot",
    "curses",
    "daemonize",
    "debugcon",
    "display",
    "fsdev",
    "full-screen",
    "gdb",
    "mem-path",
    "mon",
    "monitor",
    "no-shutdown",
    "nographic",
    "parallel",
    "pidfile",
    "qmp",
    "qmp-pretty",
    "s",
    "sdl",
    "serial",
    "spice",
    "tpmdev",
    "virtfs",
    "vnc",
];
/// Devices that reach something of the host's, as their names begin.
const OUTWARD_DEVICES: [&str; 6] = ["vfio-", "vhost-", "usb-host", "virtio-9p", "ivshmem", "pci-assign"];
/// What devices are called that reach it by the value of this key.
const OUTWARD_KEYS: [&str; 2] = ["tpmdev", "fsdev"];
/// The name that the guest agent's port has in the guest.
const AGENT_PORT: &str = "org.qemu.guest_agent.0";
/// Devices that are a serial port.
const SERIAL_DEVICES: [&str; 2] = ["isa-serial", "pci-serial"];

/// Takes everything away that reaches further than the machine, has its first serial port written to a file in `folder`, and the guest agent
/// listen at a socket there.
pub fn isolate(line: &mut Line, folder: &Path) {
    network::remove(line);
    line.retain(|argument| !OUTWARD.contains(&argument.option.as_str()) && !is_outward_device(argument));
    line.push(Argument::new("display", "none"));
    let agent = agent_backend(line);
    let serial = device(line, |device| driver(device).is_some_and(|driver| SERIAL_DEVICES.contains(&driver)));
    for argument in line.arguments_mut() {
        match argument.option.as_str() {
            "chardev" => {
                let id = id(&Parts::read(argument.value()));
                let backend = match &id {
                    _ if id == agent => socket(folder),
                    _ if id.is_some() && id == serial => file(folder),
                    _ => vec![("null".to_owned(), None)],
                };
                argument.value = Some(with_id(backend, id.as_deref()));
            }
            "audiodev" => {
                let id = id(&Parts::read(argument.value()));
                argument.value = Some(with_id(vec![("none".to_owned(), None)], id.as_deref()));
            }
            "object" => private_memory(argument),
            _ => {}
        }
    }
    if serial.is_none() {
        line.push(Argument::new("serial", format!("file:{}", escaped(folder, SERIAL))));
    }
    if agent.is_none() {
        let id = "stillpoint-agent";
        line.push(Argument::new("chardev", with_id(socket(folder), Some(id))));
        line.push(Argument::new("device", format!("virtio-serial-pci,id={id}-bus")));
        line.push(Argument::new("device", format!("virtserialport,bus={id}-bus.0,chardev={id},name={AGENT_PORT}")));
    }
}

fn is_outward_device(argument: &Argument) -> bool {
    let device = Parts::read(argument.value());
    let reaches = |name: &str| OUTWARD_DEVICES.iter().any(|outward| name.starts_with(outward));
    argument.option == "device"
        && (driver(&device).is_some_and(reaches) || OUTWARD_KEYS.iter().any(|key| device.get(key).is_some()))
}

fn driver(device: &Parts) -> Option<&str> {
    match device {
        Parts::Pairs(pairs) => match pairs.first() {
            Some((driver, None)) => Some(driver),
            _ => device.get("driver"),
        },
        Parts::Json(_) => device.get("driver"),
    }
}

fn id(parts: &Parts) -> Option<String> {
    parts.get("id").map(str::to_owned)
}

/// The backend of the first such device that has one.
fn device(line: &Line, is_it: impl Fn(&Parts) -> bool) -> Option<String> {
    let devices = line.arguments().iter().filter(|argument| argument.option == "device");
    devices
        .map(|argument| Parts::read(argument.value()))
        .filter(is_it)
        .find_map(|device| device.get("chardev").map(str::to_owned))
}

fn agent_backend(line: &Line) -> Option<String> {
    device(line, |device| device.get("name") == Some(AGENT_PORT))
}

fn pair(key: &str, value: impl Into<String>) -> (String, Option<String>) {
    (key.to_owned(), Some(value.into()))
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_string_lossy().into_owned()
}

/// A comma that is meant stands twice.
fn escaped(folder: &Path, name: &str) -> String {
    path(folder, name).replace(',', ",,")
}

fn socket(folder: &Path) -> Vec<(String, Option<String>)> {
    vec![("socket".to_owned(), None), pair("path", path(folder, AGENT)), pair("server", "on"), pair("wait", "off")]
}

fn file(folder: &Path) -> Vec<(String, Option<String>)> {
    vec![("file".to_owned(), None), pair("path", path(folder, SERIAL))]
}

fn with_id(mut backend: Vec<(String, Option<String>)>, id: Option<&str>) -> String {
    backend.extend(id.map(|id| pair("id", id)));
    Parts::Pairs(backend).write()
}

/// Memory in a file may be the old machine's.
fn private_memory(argument: &mut Argument) {
    let parts = Parts::read(argument.value());
    let kind = match &parts {
        Parts::Pairs(pairs) => pairs.first().map(|(kind, value)| value.clone().unwrap_or_else(|| kind.clone())),
        Parts::Json(_) => parts.get("qom-type").map(str::to_owned),
    };
    if !kind.is_some_and(|kind| ["memory-backend-file", "memory-backend-memfd"].contains(&kind.as_str())) {
        return;
    }
    let tree = parts.to_tree();
    let private = json!({ "qom-type": "memory-backend-ram", "id": tree["id"], "size": tree["size"] });
    argument.value = Some(match &parts {
        Parts::Json(_) => private.to_string(),
        Parts::Pairs(_) => {
            let text = |key: &str| tree[key].as_str().map(|value| pair(key, value));
            let pairs = [Some(("memory-backend-ram".to_owned(), None)), text("id"), text("size")];
            Parts::Pairs(pairs.into_iter().flatten().collect()).write()
        }
    });
}
