//! Chapter "Restoring by hand" of `SPEC.md`, followed step by step without any code of Stillpoint.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use data_encoding::{BASE64, Encoding, HEXLOWER, Specification};
use serde_json::{Value, value::RawValue};

use crate::text::{
    Layout, Pack, behind, chapter, fixed, fixed_number, hkdf_sha256, limit, number, open_gcm, section, signature, uncontained,
};

/// An opened vault in a folder.
pub struct Vault {
    folder: PathBuf,
    pub id: [u8; 16],
    pub master: Vec<u8>,
}

/// Where a page or chunk frame lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub pack: usize,
    pub frame: u32,
    pub offset: usize,
    pub sealed_bytes: usize,
}

/// A pack by name and salt.
pub type Named = (String, Vec<u8>);

/// A disk of a manifest.
pub struct Disk {
    pub name: String,
    pub size_bytes: u64,
    pub pages: Vec<Option<Place>>,
}

/// A chunk of a page: position in the list of frames, place, id.
pub type Entry = Option<(usize, usize, [u8; 32])>;

/// A map page. Its first pack is its own.
pub struct Page {
    pub packs: Vec<Named>,
    pub frames: Vec<(Place, usize)>,
    pub entries: Vec<Entry>,
}

/// A structure without fixed offsets, read from its first byte to its last.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(length);
        self.0 = rest;
        head
    }

    fn number(&mut self, length: usize) -> u64 {
        number(self.take(length))
    }

    fn text(&mut self) -> String {
        let length = self.number(2) as usize;
        String::from_utf8(self.take(length).to_vec()).expect("a text is UTF-8")
    }

    fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.number(4);
        (0..count).map(|_| element(self)).collect()
    }

    fn column(&mut self, count: usize, size: usize) -> Vec<u64> {
        (0..count).map(|_| self.number(size)).collect()
    }

    fn end(self) {
        assert!(self.0.is_empty(), "a structure ends with its last field");
    }
}

/// The 16 bytes of an id.
pub fn id_bytes(text: &str) -> [u8; 16] {
    let digit = |c| "0123456789ABCDEFGHJKMNPQRSTVWXYZ".find(c).unwrap_or_else(|| panic!("{text} is an id")) as u128;
    text.chars().fold(0, |id, c| id << 5 | digit(c)).to_be_bytes()
}

/// The secret in a key file.
pub fn key_file_secret(text: &str) -> Vec<u8> {
    let key: Value = serde_json::from_str(text).expect("a key file is JSON");
    assert_eq!(key["stillpoint_key"], 1);
    base64(&key["secret"])
}

/// The secret in a recovery key.
pub fn recovery_key_secret(text: &str) -> Vec<u8> {
    let mut specification = Specification::new();
    specification.symbols.push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    let base32: Encoding = specification.encoding().expect("an alphabet");
    let compact: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    let bytes = base32.decode(compact.as_bytes()).expect("base32");
    let (secret, check) = bytes.split_at(fixed_number("secret bytes") as usize);
    assert_eq!(check, &blake3::derive_key(&fixed("context of recovery key check"), secret)[..3]);
    secret.to_vec()
}

/// Bytes of a text in base64 with padding.
pub fn base64(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is a text"));
    BASE64.decode(text.as_bytes()).expect("base64 with padding")
}

impl Vault {
    /// Steps 1 to 3.
    pub fn open(folder: &Path, secret: &[u8]) -> Self {
        let unsigned = |name: &str| -> Value { serde_json::from_slice(&read(folder, name)).expect("a record is JSON") };
        let identity = &unsigned("vault.json")["body"];
        assert_eq!(identity["format_version"], limit("FORMAT_VERSION"));
        let id = id_bytes(identity["id"].as_str().expect("an id"));
        let unwrap = |name: &String| {
            let slot = &unsigned(&format!("keys/{name}"))["body"];
            let key = hkdf_sha256(&base64(&slot["salt"]), secret, &fixed("info of slot key"));
            let associated = [&id[..], slot["kind"].as_str().expect("a kind").as_bytes()].concat();
            open_gcm(key, [0; 12], &associated, &base64(&slot["wrapped"]))
        };
        let master = names(&folder.join("keys")).iter().find_map(unwrap).expect("the secret opens a slot");
        let vault = Self { folder: folder.to_owned(), id, master };
        vault.record("vault", "vault.json");
        vault
    }

    /// A key that follows from the master key.
    pub fn key(&self, info: &str) -> [u8; 32] {
        hkdf_sha256(&self.id, &self.master, &fixed(info))
    }

    /// The names of all objects, sorted.
    pub fn objects(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for name in names(&folder) {
                let path = folder.join(name);
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(&self.folder).expect("it lies in the vault");
                    found.push(name.to_str().expect("names are text").to_owned());
                }
            }
        }
        found.sort();
        found
    }

    /// A whole object.
    pub fn object(&self, name: &str) -> Vec<u8> {
        read(&self.folder, name)
    }

    /// The body of a record, after its signature was checked.
    pub fn record(&self, kind: &str, name: &str) -> Value {
        let bytes = self.object(name);
        let members: BTreeMap<&str, &RawValue> = serde_json::from_slice(&bytes).expect("a record is a JSON object");
        assert_eq!(members.keys().copied().collect::<Vec<_>>(), ["body", "kind", "name", "signature"]);
        let (body, quoted) = (members["body"].get(), |text: &str| format!("\"{text}\""));
        assert_eq!((members["kind"].get(), members["name"].get()), (&*quoted(kind), &*quoted(name)));
        let key = self.key("info of signature key");
        assert_eq!(members["signature"].get(), quoted(&signature(&key, kind, name, body)), "{name} is signed");
        serde_json::from_str(body).expect("a body is JSON")
    }

    /// A pack of this vault.
    pub fn pack<'a>(&self, (name, salt): &'a Named) -> Pack<'a> {
        Pack { vault: self.id, secret: self.key("info of pack secret"), name, salt }
    }

    /// Step 5: packs and disks of a manifest.
    pub fn manifest(&self, point: &Value) -> (Vec<Named>, Vec<Disk>) {
        let object = self.object(point["manifest"]["name"].as_str().expect("a name"));
        let layout = Layout::of(behind(chapter("Manifests"), "Header:"));
        assert_eq!(layout.field(&object, "magic"), fixed("manifest magic").as_bytes());
        assert_eq!(layout.number(&object, "format version"), limit("FORMAT_VERSION") as u64);
        let mut end = layout.size() as u64;
        let mut plain = |name: &str| {
            let section = &point["manifest"]["sections"][name];
            let (offset, length) = (section["offset"].as_u64().expect("offset"), section["length"].as_u64().expect("length"));
            assert_eq!(offset, end, "sections follow one another");
            end += length;
            let stored = &object[offset as usize..end as usize];
            assert_eq!(section["blake3"], blake3::hash(stored).to_hex().as_str());
            uncontained(stored)
        };
        let packs = packs(&plain("packs"));
        let disks = disks(&plain("disks"));
        plain("samples");
        assert_eq!(end as usize, object.len());
        (packs, disks)
    }

    /// Steps 6.1 and 6.2: a map page.
    pub fn page(&self, packs: &[Named], place: &Place) -> Page {
        let own = &packs[place.pack];
        let sealed = &self.object(&own.0)[place.offset..place.offset + place.sealed_bytes];
        let plain = self.pack(own).open("kind of page frame", place.frame, sealed);
        let mut cursor = Cursor(&plain);
        let (_disk, _number) = (cursor.text(), cursor.number(4));
        let others = cursor.list(|cursor| (cursor.text(), cursor.take(fixed_number("pack salt bytes") as usize).to_vec()));
        let layout = Layout::of(behind(chapter("Map pages"), "A frame of the list:"));
        let frames = cursor.list(|cursor| {
            let bytes = cursor.take(layout.size());
            let field = |name: &str| layout.number(bytes, name) as usize;
            let (offset, sealed_bytes) = (field("offset in that pack"), field("sealed length"));
            (Place { pack: field("pack"), frame: field("frame number") as u32, offset, sealed_bytes }, field("chunks"))
        });
        let count = cursor.number(4) as usize;
        let zero = fixed_number("zero chunk");
        let positions = cursor.column(count, 2);
        let used = positions.iter().filter(|position| **position != zero).count();
        let (places, ids) = (cursor.take(used), cursor.take(used * 32));
        cursor.end();
        let mut next = places.iter().zip(ids.chunks(32));
        let mut filled = |position: u64| {
            let (place, id) = next.next().expect("a column has an element for each chunk that is not zero");
            (position as usize, usize::from(*place), id.try_into().expect("32 bytes"))
        };
        let entries = positions.into_iter().map(|position| (position != zero).then(|| filled(position))).collect();
        Page { packs: [vec![own.clone()], others].concat(), frames, entries }
    }

    /// Steps 6.3 and 6.4: writes a page's chunks into `disk`, which begins where the page does.
    pub fn write_page(&self, page: &Page, disk: &mut [u8]) {
        let chunk_bytes = limit("CHUNK_BYTES");
        assert_eq!(page.entries.len(), disk.len().div_ceil(chunk_bytes).min(limit("PAGE_CHUNKS")));
        let key = self.key("info of chunk-id key");
        let mut opened = BTreeMap::<usize, Vec<u8>>::new();
        for (index, (frame, place, id)) in page.entries.iter().enumerate().filter_map(|(index, entry)| Some((index, (*entry)?))) {
            let plain = opened.entry(frame).or_insert_with(|| self.frame(page, frame));
            let chunk = &plain[place * chunk_bytes..(place + 1) * chunk_bytes];
            assert_eq!(blake3::keyed_hash(&key, chunk).to_hex().as_str(), HEXLOWER.encode(&id));
            let end = ((index + 1) * chunk_bytes).min(disk.len());
            disk[index * chunk_bytes..end].copy_from_slice(&chunk[..end - index * chunk_bytes]);
        }
    }

    fn frame(&self, page: &Page, frame: usize) -> Vec<u8> {
        let (place, chunks) = page.frames[frame];
        let pack = &page.packs[place.pack];
        let sealed = &self.object(&pack.0)[place.offset..place.offset + place.sealed_bytes];
        let plain = self.pack(pack).open("kind of chunk frame", place.frame, sealed);
        assert_eq!(plain.len(), chunks * limit("CHUNK_BYTES"));
        plain
    }

    /// Step 6: the bytes of a disk.
    pub fn restore(&self, packs: &[Named], disk: &Disk) -> Vec<u8> {
        let mut bytes = vec![0; disk.size_bytes as usize];
        assert_eq!(disk.pages.len(), bytes.len().div_ceil(limit("PAGE_BYTES")));
        for (part, place) in bytes.chunks_mut(limit("PAGE_BYTES")).zip(&disk.pages) {
            if let Some(place) = place {
                self.write_page(&self.page(packs, place), part);
            }
        }
        bytes
    }
}

fn packs(plain: &[u8]) -> Vec<Named> {
    let mut cursor = Cursor(plain);
    let packs = cursor.list(|cursor| {
        let named = (cursor.text(), cursor.take(fixed_number("pack salt bytes") as usize).to_vec());
        let _size_and_live_numbers = cursor.column(4, 8);
        named
    });
    cursor.end();
    assert!(packs.is_sorted() && section("Section `packs`").contains("sorted by name"));
    packs
}

fn disks(plain: &[u8]) -> Vec<Disk> {
    let mut cursor = Cursor(plain);
    let disks = cursor.list(|cursor| {
        let (name, size_bytes) = (cursor.text(), cursor.number(8));
        let positions = cursor.column((size_bytes as usize).div_ceil(limit("PAGE_BYTES")), 4);
        let zero = fixed_number("zero page");
        let used = positions.iter().filter(|position| **position != zero).count();
        let [frames, offsets, lengths] = [0; 3].map(|_| cursor.column(used, 4));
        let mut next = 0..used;
        let mut place = |pack: u64| {
            let at = next.next().expect("a column has an element for each page that is not zero");
            Place {
                pack: pack as usize,
                frame: frames[at] as u32,
                offset: offsets[at] as usize,
                sealed_bytes: lengths[at] as usize,
            }
        };
        let pages = positions.into_iter().map(|pack| (pack != zero).then(|| place(pack))).collect();
        Disk { name, size_bytes, pages }
    });
    cursor.end();
    disks
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().to_str().expect("text").to_owned();
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}
