//! Disks on a command line, and what takes their place.

use serde_json::{Map, Value, json};

use super::{
    Disk, Variables,
    line::{Argument, Line},
    tree::Parts,
};

/// Formats that a disk may have had.
const FORMATS: [&str; 12] = ["raw", "qcow2", "qcow", "qed", "vmdk", "vdi", "vpc", "vhdx", "parallels", "bochs", "cloop", "luks"];
/// Options of a node that hold whatever its format is.
const ANY_FORMAT: [&str; 8] =
    ["driver", "node-name", "discard", "cache", "read-only", "auto-read-only", "detect-zeroes", "force-share"];
/// What a restored image does not have, whatever its format.
const ELSEWHERE: [&str; 3] = ["backing", "data-file", "encrypt"];
/// Options that are a disk image's name alone, with the drive's index.
const PLAIN: [(&str, u32); 5] = [("", 0), ("hda", 0), ("hdb", 1), ("hdc", 2), ("hdd", 3)];

/// Puts each restored disk in the place of the one that it was; warns of those that have none.
pub fn replace(line: &mut Line, disks: &[Disk]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (position, disk) in disks.iter().enumerate() {
        let found = by_file(line, disk) || by_name(line, disk);
        if !found {
            append(line, disk, position);
            warnings.push(format!(
                "disk {} is not on the machine's command line (it was plugged in later); the script adds it as a virtio disk",
                disk.name
            ));
        }
    }
    warnings
}

/// Leads the machine's flash to its variables; says so where it has none on its command line.
pub fn lead_to(line: &mut Line, Variables { was, file }: Variables<'_>) -> Option<String> {
    let flash = Disk { name: String::new(), was: Some(was.to_owned()), file: file.to_owned(), format: "raw" };
    (!by_file(line, &flash)).then(|| {
        let was = was.escape_debug();
        format!(
            "the file of the firmware's variables ({was}) is not on the machine's command line; they are in {}",
            file.display()
        )
    })
}

/// Where the file stands that the disk was in.
fn by_file(line: &mut Line, disk: &Disk) -> bool {
    let Some(was) = &disk.was else { return false };
    let mut found = false;
    let mut nodes = Vec::new();
    for argument in line.arguments_mut() {
        let parts = Parts::read(argument.value());
        let plain = PLAIN.iter().find(|(option, _)| argument.option == *option).filter(|_| argument.value() == was);
        if let Some((_, index)) = plain {
            *argument = Argument::new("drive", drive(&Parts::Pairs(vec![pair("index", index), pair("media", "disk")]), disk));
        } else if argument.option == "pflash" && argument.value() == was {
            *argument = Argument::new("drive", drive(&Parts::Pairs(vec![pair("if", "pflash")]), disk));
        } else if argument.option == "drive" && file_of_drive(&parts) == Some(was) {
            argument.value = Some(drive(&parts, disk));
        } else if argument.option == "blockdev" {
            let mut tree = parts.to_tree();
            let Some(change) = in_tree(&mut tree, was, disk) else { continue };
            nodes.extend(change);
            argument.value = Some(parts.with_tree(tree).write());
        } else {
            continue;
        }
        found = true;
    }
    for node in nodes {
        over(line, &node, disk);
    }
    found
}

/// Where the disk's own name stands, as platform `qemu` calls disks: that of its drive, or else of its device.
fn by_name(line: &mut Line, disk: &Disk) -> bool {
    let is_name = |id: Option<&str>| id.is_some_and(|id| known_as(id) == disk.name);
    let device =
        line.arguments().iter().filter(|argument| argument.option == "device").map(|argument| Parts::read(argument.value()));
    let node = device.filter(|parts| is_name(parts.get("id"))).find_map(|parts| parts.get("drive").map(str::to_owned));
    let is_it = |parts: &Parts| is_name(parts.get("id")) || node.is_some() && node.as_deref() == parts.get("id");
    for argument in line.arguments_mut().iter_mut().filter(|argument| argument.option == "drive") {
        let parts = Parts::read(argument.value());
        if is_it(&parts) {
            argument.value = Some(drive(&parts, disk));
            return true;
        }
    }
    let Some(node) = node else { return false };
    for argument in line.arguments_mut().iter_mut().filter(|argument| argument.option == "blockdev") {
        let parts = Parts::read(argument.value());
        let tree = parts.to_tree();
        if tree["node-name"] == *node {
            // Whatever it stood over, the restored image stands alone.
            argument.value = Some(parts.with_tree(formatted(tree, disk, Some(file(disk)))).write());
            return true;
        }
    }
    false
}

fn known_as(id: &str) -> String {
    let allowed = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9' | '-' | '_' | '.') => letter,
        _ => '-',
    };
    id.trim_start_matches(['.', '#']).chars().map(allowed).collect()
}

fn pair(key: &str, value: impl ToString) -> (String, Option<String>) {
    (key.to_owned(), Some(value.to_string()))
}

fn file_of_drive(parts: &Parts) -> Option<&str> {
    let file = parts.get("file").or_else(|| parts.get("file.filename")).or_else(|| parts.get("filename"))?;
    Some(file.strip_prefix("file:").unwrap_or(file))
}

/// A `-drive` over the restored file; what it says besides file and format stays.
fn drive(parts: &Parts, disk: &Disk) -> String {
    let Parts::Pairs(pairs) = parts else { return parts.write() };
    let is_replaced = |key: &str| {
        matches!(key, "file" | "filename" | "format" | "driver")
            || key.starts_with("file.")
            || ELSEWHERE.iter().any(|gone| key.starts_with(gone))
    };
    let mut new = vec![pair("file", disk.file.display()), pair("format", disk.format)];
    new.extend(pairs.iter().filter(|(key, _)| !is_replaced(key)).cloned());
    Parts::Pairs(new).write()
}

/// The protocol node of a restored file.
fn file(disk: &Disk) -> Value {
    json!({ "driver": "file", "filename": disk.file.to_string_lossy() })
}

/// Replaces the file in a tree of nodes. `None` where it is not there; else the name of the replaced node, where that is a node of its own
/// over which others may stand.
fn in_tree(tree: &mut Value, was: &str, disk: &Disk) -> Option<Option<String>> {
    if tree["filename"] == *was {
        let name = tree["node-name"].as_str().map(str::to_owned);
        tree["filename"] = json!(disk.file.to_string_lossy());
        tree["driver"] = json!("file");
        return Some(name);
    }
    let below = tree.get_mut("file").filter(|below| below.is_object())?;
    let name = in_tree(below, was, disk)?;
    if is_format(tree) {
        *tree = formatted(tree.take(), disk, None);
        return Some(None);
    }
    Some(name)
}

fn is_format(tree: &Value) -> bool {
    tree["driver"].as_str().is_some_and(|driver| FORMATS.contains(&driver))
}

/// A format node as it is for the restored image.
fn formatted(tree: Value, disk: &Disk, file: Option<Value>) -> Value {
    let same = tree["driver"] == disk.format;
    let Value::Object(fields) = tree else { return tree };
    let kept = |key: &str| key == "file" || ANY_FORMAT.contains(&key) || same && !ELSEWHERE.contains(&key);
    let mut new: Map<String, Value> = fields.into_iter().filter(|(key, _)| kept(key)).collect();
    new.insert("driver".to_owned(), json!(disk.format));
    new.extend(file.map(|file| ("file".to_owned(), file)));
    Value::Object(new)
}

/// Gives the node that stands over a replaced file node its format; where none does, the file node becomes one of that format.
fn over(line: &mut Line, node: &str, disk: &Disk) {
    let blockdevs = || |argument: &&mut Argument| argument.option == "blockdev";
    for argument in line.arguments_mut().iter_mut().filter(blockdevs()) {
        let parts = Parts::read(argument.value());
        let tree = parts.to_tree();
        if tree["file"] == *node && is_format(&tree) {
            argument.value = Some(parts.with_tree(formatted(tree, disk, None)).write());
            return;
        }
    }
    if disk.format == "raw" {
        return;
    }
    for argument in line.arguments_mut().iter_mut().filter(blockdevs()) {
        let parts = Parts::read(argument.value());
        if parts.to_tree()["node-name"] == *node {
            let image = json!({ "driver": disk.format, "node-name": node, "file": file(disk) });
            argument.value = Some(parts.with_tree(image).write());
        }
    }
}

fn append(line: &mut Line, disk: &Disk, position: usize) {
    let node = format!("restored{position}");
    let image = json!({ "driver": disk.format, "node-name": node, "file": file(disk) });
    line.push(Argument::new("blockdev", image.to_string()));
    line.push(Argument::new("device", format!("virtio-blk,drive={node}")));
}
