//! The file of a domain's firmware variables.

use std::path::Path;

use roxmltree::Node;

use super::{Edits, child, escaped};

/// Leads the domain to its own variables, or to none, which has it begin with those of its template: never to the old domain's.
pub(super) fn lead(edits: &mut Edits, root: Node<'_, '_>, file: Option<&Path>, warnings: &mut Vec<String>) {
    let Some(os) = child(root, "os") else { return };
    let nvram = child(os, "nvram");
    if let Some(file) = file {
        let new = format!("<nvram>{}</nvram>", escaped(&file.to_string_lossy()));
        match (nvram, os.last_child()) {
            (Some(node), _) => edits.replace(node.range(), new),
            // libvirt gave it a file when it started.
            (None, Some(last)) => edits.insert(last.range().end, &new),
            (None, None) => {}
        }
        return;
    }
    let Some(node) = nvram else { return };
    let template = node.attribute("template").map(|file| format!("<nvram template='{}'/>", escaped(file)));
    edits.replace(node.range(), template.unwrap_or_default());
    let file = node.text().map(str::trim).filter(|file| !file.is_empty());
    warnings.push(format!(
        "firmware variables{} are not in the point; the new domain begins with those of its template",
        file.map(|file| format!(" ({})", file.escape_debug())).unwrap_or_default()
    ));
}
