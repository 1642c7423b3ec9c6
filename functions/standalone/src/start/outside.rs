//! What a machine uses besides its own folder.

use super::{line::Line, tree::Parts};

/// Options whose values are no files of this host, though they may look like paths.
const NO_FILES: [&str; 3] = ["append", "name", "device"];
/// Options that give the machine a disk.
const DISKS: [&str; 10] = ["", "drive", "blockdev", "hda", "hdb", "hdc", "hdd", "sd", "mtdblock", "pflash"];

/// Files outside of `folder`, each with its option; and warnings of those that the new machine writes to as the old one does, and of what
/// cannot be had again.
pub fn of(line: &Line, folder: &str) -> (Vec<String>, Vec<String>) {
    let (mut outside, mut warnings) = (Vec::new(), Vec::new());
    for argument in line.arguments() {
        let option = argument.option.as_str();
        if NO_FILES.contains(&option) {
            continue;
        }
        let parts = Parts::read(argument.value());
        let mut paths = Vec::new();
        let mut handed_over = false;
        let mut look = |key: &str, value: &str| {
            handed_over |= matches!(key, "fd" | "fds" | "vhostfd") && option != "add-fd";
            paths.extend(path_in(value).filter(|path| !is_within(path, folder)).map(str::to_owned));
            None
        };
        match &parts {
            Parts::Pairs(pairs) => {
                for (key, value) in pairs {
                    let last = key.rsplit('.').next().unwrap_or(key);
                    let (key, value) = value.as_deref().map_or(("", key.as_str()), |value| (last, value));
                    let _: Option<String> = look(key, value);
                }
            }
            Parts::Json(_) => parts.clone().change(&mut look),
        }
        if handed_over {
            warnings.push(format!(
                "-{option} uses a file that was handed over when the machine was started (as libvirt does); the script cannot start it as it is"
            ));
        }
        if DISKS.contains(&option) && !is_read_only(&parts) {
            warnings.extend(paths.iter().map(|path| format!("the new machine writes to {path}, as the old one does")));
        }
        outside.extend(paths.into_iter().map(|path| format!("-{option} {path}")));
    }
    (outside, warnings)
}

/// What of the old machine is in no point, as a warning.
pub fn lost(line: &Line) -> Option<String> {
    let has_tpm = line.arguments().iter().any(|argument| argument.option == "tpmdev");
    has_tpm.then(|| "the TPM's content is not in the point; what was sealed with it cannot be opened".to_owned())
}

/// A path that a value is, or that follows its scheme.
fn path_in(value: &str) -> Option<&str> {
    let scheme = |text: &str| text.chars().all(|c| c.is_ascii_lowercase());
    let path = match value.split_once(':') {
        Some((before, path)) if scheme(before) => path,
        _ => value,
    };
    (path.starts_with('/') && !path.starts_with("//") && !path.starts_with("/dev/net/")).then_some(path)
}

fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder.trim_end_matches('/')).is_some_and(|rest| rest.starts_with('/'))
}

fn is_read_only(parts: &Parts) -> bool {
    let on = |key: &str| parts.get(key).is_some_and(|value| matches!(value, "on" | "true"));
    let json = matches!(parts, Parts::Json(value) if value["read-only"] == true);
    json || on("read-only") || on("readonly") || parts.get("media") == Some("cdrom")
}
