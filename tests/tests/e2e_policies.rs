//! The operator's side of policies through the binary: files right and wrong, who follows what, when the next runs are, what a
//! change would do to recovery points, and a thousand machines from one file.

#[path = "e2e_policies/files.rs"]
mod files;
#[path = "e2e_policies/fleet.rs"]
mod fleet;
#[path = "e2e_policies/history.rs"]
mod history;
#[path = "e2e_policies/import.rs"]
mod import;
#[path = "e2e_policies/machines.rs"]
mod machines;
#[path = "e2e_policies/preview.rs"]
mod preview;
#[path = "e2e_policies/runs.rs"]
mod runs;

use std::fs;

use serde_json::Value;
use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
};

/// A policy for machines with the tag `env=prod`.
const NIGHTLY: &str = r#"name = "nightly"
[applies_to]
tags = { env = "prod" }
[schedule]
daily = "02:00"
time_zone = "Europe/Berlin"
window = "2h"
[retention]
daily = 30
keep_last = 3
"#;

/// Writes a file in the lab and returns its path.
fn file(lab: &Lab, name: &str, text: &str) -> String {
    fs::write(lab.path(name), text).expect("a file can be written");
    lab.arg(name)
}

fn apply(lab: &Lab, host: &Host, text: &str) -> Value {
    host.json(&["policy", "apply", &file(lab, "applied.toml", text)])
}

/// A file of `count` machines, all with the same small disk.
fn machines_file(lab: &Lab, count: usize, tags: &str) -> String {
    let path = lab.path("disk.raw");
    if !path.exists() {
        disk::full(&path, MIB, 5);
    }
    let machine = |number| {
        format!("[[machine]]\nname = \"vm-{number:04}\"\ndisks = {{ os = \"{}\" }}\ntags = {{ {tags} }}\n\n", path.display())
    };
    (0..count).map(machine).collect()
}

fn imported(lab: &Lab, host: &Host, count: usize, tags: &str) -> Value {
    host.json(&["machine", "import", &file(lab, "machines.toml", &machines_file(lab, count, tags))])
}

/// The texts in an array of a document.
fn texts<'a>(document: &'a Value, pointer: &str) -> Vec<&'a str> {
    let array = document.pointer(pointer).and_then(Value::as_array);
    array.unwrap_or_else(|| panic!("no list at {pointer} in {document}")).iter().filter_map(Value::as_str).collect()
}
