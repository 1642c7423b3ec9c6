//! `SPEC.md` as data: its tables, and the rules of its chapters as code that takes every figure from the text.

use std::collections::BTreeMap;

use ring::{aead, hkdf};

pub const SPEC: &str = include_str!("../../SPEC.md");

/// Text of the chapter `title`, up to the next chapter.
pub fn chapter(title: &str) -> &'static str {
    let (_, rest) = SPEC.split_once(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("SPEC.md has no chapter {title}"));
    rest.split("\n## ").next().unwrap_or(rest)
}

/// Text of the section `title`, up to the next section or chapter.
pub fn section(title: &str) -> &'static str {
    let (_, rest) = SPEC.split_once(&format!("\n### {title}\n")).unwrap_or_else(|| panic!("SPEC.md has no section {title}"));
    rest.split("\n## ").next().and_then(|rest| rest.split("\n### ").next()).unwrap_or(rest)
}

/// What of `text` stands behind the line `label`.
pub fn behind(text: &'static str, label: &str) -> &'static str {
    text.split_once(&format!("\n{label}\n")).unwrap_or_else(|| panic!("SPEC.md has no line {label:?} there")).1
}

fn cells(line: &str) -> Vec<&str> {
    line.trim_matches('|').split(" | ").map(str::trim).collect()
}

/// One table: column titles and rows.
pub struct Table {
    pub head: Vec<&'static str>,
    pub rows: Vec<Vec<&'static str>>,
}

/// The tables of a text.
pub fn tables(text: &'static str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (line.starts_with('|'), inside) {
            (true, false) => tables.push(Table { head: cells(line), rows: Vec::new() }),
            (true, true) if !line.starts_with("|---") => tables.last_mut().expect("a table is open").rows.push(cells(line)),
            _ => {}
        }
        inside = line.starts_with('|');
    }
    tables
}

/// Name → value of every table in a chapter whose first columns are these; code quotes dropped, `\n` read.
pub fn values(title: &str) -> BTreeMap<String, String> {
    let named = tables(chapter(title)).into_iter().filter(|table| table.head[..2] == ["name", "value"]);
    let rows = named.flat_map(|table| table.rows);
    rows.map(|row| (row[0].replace('`', ""), row[1].replace('`', "").replace("\\n", "\n"))).collect()
}

pub fn fixed(name: &str) -> String {
    values("Fixed values").remove(name).unwrap_or_else(|| panic!("SPEC.md has no fixed value '{name}'"))
}

pub fn fixed_number(name: &str) -> u64 {
    fixed(name).parse().unwrap_or_else(|_| panic!("'{name}' is no number"))
}

pub fn limit(name: &str) -> usize {
    let limits = values("Limits");
    limits.get(name).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("SPEC.md has no limit {name}"))
}

/// A structure of fixed offsets, as its byte table says.
pub struct Layout(Vec<(usize, Option<usize>, &'static str)>);

impl Layout {
    /// The first byte table of `text`.
    pub fn of(text: &'static str) -> Self {
        let table = tables(text).into_iter().find(|table| table.head == ["offset", "size", "field"]).expect("a byte table");
        let field = |row: Vec<&'static str>| Some((row[0].parse().ok()?, row[1].parse().ok(), row[2]));
        Self(table.rows.into_iter().filter_map(field).collect())
    }

    /// The field whose description begins with `name`; one of open size reaches to the end of `bytes`.
    pub fn field<'a>(&self, bytes: &'a [u8], name: &str) -> &'a [u8] {
        let (offset, size, _) =
            self.0.iter().find(|(_, _, field)| field.starts_with(name)).unwrap_or_else(|| panic!("no field {name}"));
        &bytes[*offset..size.map_or(bytes.len(), |size| offset + size)]
    }

    /// Likewise, as a number.
    pub fn number(&self, bytes: &[u8], name: &str) -> u64 {
        number(self.field(bytes, name))
    }

    /// Bytes up to the end of the last field of fixed size.
    pub fn size(&self) -> usize {
        self.0.iter().filter_map(|(offset, size, _)| Some(offset + (*size)?)).max().unwrap_or(0)
    }
}

/// A little-endian number of up to 8 bytes.
pub fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub fn hkdf_sha256(salt: &[u8], secret: &[u8], info: &str) -> [u8; 32] {
    let mut key = [0; 32];
    let info = [info.as_bytes()];
    let okm = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    okm.expand(&info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut key)).expect("32 bytes");
    key
}

/// `None` where it does not authenticate.
pub fn open_gcm(key: [u8; 32], nonce: [u8; 12], associated: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &key).expect("32 bytes"));
    let mut buffer = sealed.to_vec();
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    key.open_in_place(nonce, aead::Aad::from(associated), &mut buffer).ok().map(|plain| plain.to_vec())
}

/// BLAKE3 keyed over the parts of a record's signature.
pub fn signature(key: &[u8; 32], kind: &str, name: &str, body: &str) -> String {
    let mut hasher = blake3::Hasher::new_keyed(key);
    for part in [&fixed("context of records"), kind, name, body] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Opens a container.
pub fn uncontained(container: &[u8]) -> Vec<u8> {
    let layout = Layout::of(chapter("Containers"));
    assert_eq!(fixed_number("container prefix bytes") as usize, layout.size());
    let (length, body) = (layout.number(container, "length of the plain bytes") as usize, layout.field(container, "codec 0"));
    let plain = match layout.number(container, "codec") {
        0 => body.to_vec(),
        1 => zstd::bulk::decompress(body, length).expect("one zstd frame"),
        codec => panic!("codec {codec}"),
    };
    assert_eq!(plain.len(), length);
    plain
}

/// What it takes to open the frames of one pack.
pub struct Pack<'a> {
    pub vault: [u8; 16],
    pub secret: [u8; 32],
    pub name: &'a str,
    pub salt: &'a [u8],
}

impl Pack<'_> {
    /// Opens a frame and its container; `kind` is the name of a fixed value.
    pub fn open(&self, kind: &str, number: u32, sealed: &[u8]) -> Vec<u8> {
        let info = fixed("info of pack key, before the pack's name") + self.name;
        let key = hkdf_sha256(self.salt, &self.secret, &info);
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&number.to_le_bytes());
        let kind = fixed_number(kind) as u8;
        let associated = [&self.vault[..], &[kind], &number.to_le_bytes(), self.name.as_bytes()].concat();
        let container = open_gcm(key, nonce, &associated, sealed);
        uncontained(&container.unwrap_or_else(|| panic!("frame {number} of {} opens by the text", self.name)))
    }
}
