//! What a domain uses besides its disks.

use std::path::Path;

use roxmltree::Node;

use super::{Edits, child, escaped};

/// Its state lies with another program.
const TPM: &str = "the TPM's content is not in the point; what was sealed with it cannot be opened by a restored machine";
/// Devices whose text goes to a file, or comes through a socket.
const CHARACTER_DEVICES: [&str; 5] = ["serial", "parallel", "console", "channel", "redirdev"];

/// Moves sockets that the domain makes and files that it writes into its folder, by their last names.
pub(super) fn bring_in(edits: &mut Edits, root: Node<'_, '_>, folder: &str) {
    let devices = child(root, "devices");
    for device in devices.iter().flat_map(|devices| devices.children()) {
        if !CHARACTER_DEVICES.iter().any(|name| device.has_tag_name(*name)) {
            continue;
        }
        let kind = device.attribute("type");
        for node in device.children() {
            let makes = kind == Some("file") || kind == Some("unix") && node.attribute("mode") == Some("bind");
            let attribute = match node.tag_name().name() {
                "source" if makes => "path",
                "log" => "file",
                _ => continue,
            };
            let Some(path) = node.attribute_node(attribute) else { continue };
            let Some(name) = Path::new(path.value()).file_name().and_then(|name| name.to_str()) else { continue };
            edits.replace(path.range_value(), escaped(&format!("{}/{name}", folder.trim_end_matches('/'))));
        }
    }
}

/// What the new domain shares with the old one, or has lost.
pub(super) fn shared(root: Node<'_, '_>) -> Vec<String> {
    let devices = child(root, "devices");
    let mut warnings = Vec::new();
    for device in devices.iter().flat_map(|devices| devices.children()) {
        let kind = device.attribute("type");
        let fixed = device.attribute("port").filter(|port| *port != "-1" && device.attribute("autoport") != Some("yes"));
        match (device.tag_name().name(), fixed) {
            ("hostdev", _) => warnings.push("the new domain uses a device of the host, as the old one does".to_owned()),
            ("interface", _) if kind == Some("hostdev") => {
                warnings.push("the new domain uses a network device of the host, as the old one does".to_owned());
            }
            ("filesystem", _) => {
                let source = child(device, "source").and_then(|source| source.attribute("dir")).unwrap_or_default();
                warnings.push(format!("the new domain uses the folder {}, as the old one does", source.escape_debug()));
            }
            ("graphics", Some(port)) => {
                warnings.push(format!("the new domain's screen is at port {}, as the old one's is", port.escape_debug()));
            }
            ("tpm", _) if child(device, "backend").is_some_and(|backend| backend.attribute("type") == Some("emulator")) => {
                warnings.push(TPM.to_owned());
            }
            _ => {}
        }
    }
    if root.children().any(|node| node.tag_name().name() == "commandline") {
        warnings.push("arguments for QEMU that the definition has of its own are kept as they are".to_owned());
    }
    warnings
}
