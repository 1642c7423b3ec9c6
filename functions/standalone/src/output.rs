//! What goes to the screen: results on stdout, everything else on stderr.

use std::io::{IsTerminal, Write};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use stillpoint_model::{Error, Result};

/// Prints text as it is. A reader that went away is no error of ours.
pub fn text(text: &str) {
    drop(std::io::stdout().write_all(text.as_bytes()));
}

/// Prints one line.
pub fn line(line: &str) {
    text(&format!("{line}\n"));
}

/// Prints text that must not get lost.
pub fn document(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|error| Error::from(error).context("cannot write to stdout"))
}

/// Prints one JSON document: the result that a script waits for.
pub fn json<T: Serialize>(document: &T) -> Result<()> {
    let document =
        serde_json::to_string_pretty(document).map_err(|error| Error::internal("cannot write JSON").with_source(error))?;
    self::document(&format!("{document}\n"))
}

/// One line on stderr.
pub fn complain(message: &str) {
    drop(writeln!(std::io::stderr(), "stillpoint: {message}"));
}

/// Whether progress bars make sense.
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Prints a table; columns whose heads begin with `>` are aligned to the right.
pub fn table(heads: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(heads.iter().map(|head| head.trim_start_matches('>')));
    table.add_rows(rows);
    for (column, head) in table.column_iter_mut().zip(heads) {
        if head.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let drawn = table.to_string();
    drawn.lines().for_each(|drawn| line(drawn.trim_end()));
}

/// Bytes for people.
pub fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// Structured logs on stderr, as STILLPOINT_LOG asks for them (for example `STILLPOINT_LOG=info`). Without it, a service logs
/// what it does, and a command nothing.
pub fn logs(service: bool) {
    let asked = tracing_subscriber::EnvFilter::try_from_env("STILLPOINT_LOG").ok();
    if let Some(filter) = asked.or_else(|| service.then(|| tracing_subscriber::EnvFilter::new("info"))) {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).json().init();
    }
}
