//! Fields of a TOML document and where they stand in it.

use std::{ops::Range, str::FromStr};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A field, and the bytes it has in the text.
struct Field {
    path: String,
    /// From the key to the end of the value; of a table under a header, the header alone.
    whole: Range<usize>,
    key: usize,
}

/// All fields of a document, those around others first.
pub struct Fields {
    fields: Vec<Field>,
}

impl Fields {
    pub fn of(document: &DeTable<'_>) -> Self {
        let mut found = Self { fields: Vec::new() };
        found.table("", document);
        found
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let shown = key.get_ref().escape_debug();
            let path = if path.is_empty() { shown.to_string() } else { format!("{path}.{shown}") };
            self.value(path, key.span(), value);
        }
    }

    fn value(&mut self, path: String, key: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let whole = key.start.min(value.span().start)..key.end.max(value.span().end);
        self.fields.push(Field { path: path.clone(), whole, key: key.start });
        match value.get_ref() {
            DeValue::Table(table) => self.table(&path, table),
            DeValue::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    self.value(format!("{path}[{place}]"), item.span(), item);
                }
            }
            _ => {}
        }
    }

    /// The path of the smallest field around a place in the text; empty if it lies in none.
    pub fn at(&self, place: &Range<usize>) -> &str {
        let around = self.fields.iter().filter(|field| field.whole.start <= place.start && place.end <= field.whole.end);
        around.min_by_key(|field| field.whole.len()).map_or("", |field| &field.path)
    }

    /// The path of a field in a table, whose own path is `before`, as this document spells it: a single `[schedule]` has no number.
    pub fn spelled(&self, before: &str, field: &str) -> String {
        let is_list = self.fields.iter().any(|known| known.path == format!("{before}schedule[0]"));
        let field = if is_list { field.to_owned() } else { field.replacen("schedule[0]", "schedule", 1) };
        format!("{before}{field}")
    }

    /// Where a field, or the nearest one around it that is written, begins.
    pub fn start(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(field) = self.fields.iter().find(|field| field.path == path) {
                return Some(field.key);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

/// The line that a byte of `text` stands in, counted from 1.
pub fn line(text: &str, byte: usize) -> usize {
    text.as_bytes().iter().take(byte).filter(|byte| **byte == b'\n').count() + 1
}

/// The key of the assignment in the line of a byte, where the document around it cannot be read.
pub fn assigned(text: &str, byte: usize) -> String {
    let before = text.get(..byte).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let written = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
    let key = written.split_once('=').map_or("", |(key, _)| key.trim());
    let is_key = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if is_key { key.to_owned() } else { String::new() }
}

/// The tables of a list such as `[[machine]]`, which messages call by name.
pub struct Named {
    list: &'static str,
    names: Vec<Option<String>>,
}

impl Named {
    /// What is written as the name of each, as far as it can be read as one.
    pub fn of<T: FromStr + ToString>(document: &DeTable<'_>, list: &'static str) -> Self {
        let tables = document.get(list).and_then(|tables| tables.get_ref().as_array());
        let name = |table: &Spanned<DeValue<'_>>| {
            let written = table.get_ref().get("name")?.get_ref().as_str()?.parse::<T>().ok()?;
            Some(written.to_string())
        };
        Self { list, names: tables.into_iter().flatten().map(name).collect() }
    }

    /// A path such as `machine[3].disks`, with the machine's name instead of its number.
    pub fn shown(&self, path: &str) -> String {
        let named = || {
            let (number, rest) = path.strip_prefix(self.list)?.strip_prefix('[')?.split_once(']')?;
            let name = self.names.get(number.parse::<usize>().ok()?)?.as_ref()?;
            let rest = rest.trim_start_matches('.');
            let list = self.list;
            Some(if rest.is_empty() { format!("{list} {name}") } else { format!("{list} {name}: {rest}") })
        };
        named().unwrap_or_else(|| path.to_owned())
    }
}
