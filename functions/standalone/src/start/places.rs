//! Sockets, logs and process files of the old machine, which the new one must not take from it.

use std::collections::BTreeSet;

use super::{
    line::{Argument, Line},
    tree::Parts,
};

/// Longest path of a Unix socket that Linux takes.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Options whose value is a character device, or begins with one.
const DEVICES: [&str; 9] = ["qmp", "qmp-pretty", "monitor", "serial", "parallel", "debugcon", "gdb", "vnc", "virtioconsole"];

struct Moved<'a> {
    folder: &'a str,
    taken: BTreeSet<String>,
    warnings: Vec<String>,
    too_long: Vec<String>,
}

/// Moves them into `folder`, each with the last part of its name. Warns of sockets that somebody else has to listen at, and says which cannot be
/// there.
pub fn move_into(line: &mut Line, folder: &str) -> (Vec<String>, Vec<String>) {
    let mut moved = Moved { folder, taken: BTreeSet::new(), warnings: Vec::new(), too_long: Vec::new() };
    for argument in line.arguments_mut() {
        match argument.option.as_str() {
            "pidfile" | "D" => argument.value = Some(moved.place(argument.value())),
            "chardev" => moved.backend(argument),
            option if DEVICES.contains(&option) => moved.device(argument),
            _ => {}
        }
    }
    (moved.warnings, moved.too_long)
}

impl Moved<'_> {
    fn place(&mut self, path: &str) -> String {
        let name = path.rsplit('/').next().unwrap_or(path);
        let names = std::iter::once(name.to_owned()).chain((2..).map(|number| format!("{name}.{number}")));
        let name = names.into_iter().find(|name| !self.taken.contains(name)).unwrap_or_default();
        let place = format!("{}/{name}", self.folder.trim_end_matches('/'));
        self.taken.insert(name);
        place
    }

    fn socket(&mut self, path: &str, serves: bool) -> String {
        let place = self.place(path);
        if place.len() > SOCKET_PATH_BYTES_MAX {
            self.too_long.push(format!("the socket {place} has too long a path for QEMU; move the folder or change the script"));
        }
        if !serves {
            self.warnings.push(format!("the machine connects to a socket: start what listened at {path} for it at {place}"));
        }
        place
    }

    /// `-chardev socket,id=…,path=…`, `-chardev file,id=…,path=…`, `…,logfile=…`
    fn backend(&mut self, argument: &mut Argument) {
        let mut parts = Parts::read(argument.value());
        let kind = match &parts {
            Parts::Pairs(pairs) => pairs.first().map(|(kind, _)| kind.clone()).unwrap_or_default(),
            Parts::Json(_) => parts.get("backend").unwrap_or_default().to_owned(),
        };
        let serves = serves(&parts);
        parts.change(&mut |key, value| match (key, kind.as_str()) {
            ("path", "socket") => Some(self.socket(value, serves)),
            ("path", "file" | "pipe") | ("logfile", _) => Some(self.place(value)),
            _ => None,
        });
        argument.value = Some(parts.write());
    }

    /// `-qmp unix:PATH,server=on`, `-serial file:PATH`, `-monitor chardev:…`
    fn device(&mut self, argument: &mut Argument) {
        let mut parts = Parts::read(argument.value());
        let serves = serves(&parts) || argument.option == "vnc";
        let Parts::Pairs(pairs) = &mut parts else { return };
        if let Some((first, None)) = pairs.first_mut() {
            let (prefix, rest) = match first.strip_prefix("mon:") {
                Some(rest) => ("mon:", rest.to_owned()),
                None => ("", first.clone()),
            };
            if let Some(path) = rest.strip_prefix("unix:") {
                *first = format!("{prefix}unix:{}", self.socket(path, serves));
            } else if let Some((kind, path)) = rest.split_once(':').filter(|(kind, _)| ["file", "pipe"].contains(kind)) {
                *first = format!("{prefix}{kind}:{}", self.place(path));
            }
        }
        argument.value = Some(parts.write());
    }
}

fn serves(parts: &Parts) -> bool {
    match parts {
        Parts::Pairs(pairs) => {
            pairs.iter().any(|(key, value)| key == "server" && value.as_deref().is_none_or(|value| value == "on"))
        }
        Parts::Json(value) => value["server"] != false,
    }
}
