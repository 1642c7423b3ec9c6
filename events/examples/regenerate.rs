//! Writes `schemas/` and the table of `CATALOG.md` from the Rust types: `cargo run -p stillpoint-events --example regenerate`.

use std::{fs, io, path::Path};

const BEGIN: &str = "<!-- table: begin -->\n";
const END: &str = "<!-- table: end -->\n";

fn main() -> io::Result<()> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schemas = crate_folder.join("schemas");
    fs::remove_dir_all(&schemas)?;
    fs::create_dir(&schemas)?;
    for event in stillpoint_events::all() {
        fs::write(schemas.join(format!("{}.json", event.event_type)), event.schema_text())?;
    }
    let catalog = crate_folder.join("CATALOG.md");
    let text = fs::read_to_string(&catalog)?;
    let (head, rest) = text.split_once(BEGIN).ok_or_else(|| io::Error::other("CATALOG.md lacks the table's begin"))?;
    let (_, tail) = rest.split_once(END).ok_or_else(|| io::Error::other("CATALOG.md lacks the table's end"))?;
    fs::write(&catalog, format!("{head}{BEGIN}{}{END}{tail}", stillpoint_events::table()))
}
