//! The golden vaults in `testdata/`, read by `SPEC.md` alone.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

use crate::{
    by_hand::{Place, Vault, base64, id_bytes, key_file_secret, names, recovery_key_secret},
    text::{Layout, behind, chapter, fixed, fixed_number, limit, number, section, tables},
};

/// Folders of all golden vaults of version 1.
fn folders() -> Vec<PathBuf> {
    let version = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/v1"));
    let folders: Vec<PathBuf> = names(&version).into_iter().map(|name| version.join(name)).collect();
    assert!(!folders.is_empty(), "there are golden vaults");
    folders
}

fn text_of(folder: &std::path::Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{}/{name}: {error}", folder.display()))
}

fn open(folder: &std::path::Path) -> Vault {
    Vault::open(&folder.join("vault"), &key_file_secret(&text_of(folder, "key-file")))
}

fn array<'a>(value: &'a Value, member: &str) -> &'a Vec<Value> {
    value[member].as_array().unwrap_or_else(|| panic!("{member} is an array"))
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("{member} is a text"))
}

#[test]
fn either_secret_opens_a_golden_vault() {
    for folder in folders() {
        let by_recovery_key = Vault::open(&folder.join("vault"), &recovery_key_secret(&text_of(&folder, "recovery-key")));
        let vault = open(&folder);
        assert_eq!(vault.master, by_recovery_key.master);
        let key_file: Value = serde_json::from_str(&text_of(&folder, "key-file")).unwrap();
        assert_eq!(id_bytes(text(&key_file, "vault")), vault.id);
    }
}

#[test]
fn golden_points_are_restored_by_the_text_alone() {
    for folder in folders() {
        let vault = open(&folder);
        let expected: Value = serde_json::from_str(&text_of(&folder, "expected.json")).unwrap();
        for item in array(&expected, "items") {
            let name = text(item, "item");
            let points = array(item, "points");
            let ids: Vec<&str> = points.iter().map(|point| text(point, "id")).collect();
            assert_eq!(names(&folder.join("vault/points").join(name)), ids, "oldest first");
            for point in points {
                let id = text(point, "id");
                let record = vault.record("point", &format!("points/{name}/{id}/point.json"));
                assert_eq!((text(&record, "item"), text(&record, "id")), (name, id));
                let (packs, disks) = vault.manifest(&record);
                assert_eq!(array(point, "disks").len(), disks.len());
                for (disk, held) in disks.iter().zip(array(point, "disks")) {
                    assert_eq!((disk.name.as_str(), disk.size_bytes), (text(held, "name"), held["size_bytes"].as_u64().unwrap()));
                    let hash = blake3::hash(&vault.restore(&packs, disk));
                    assert_eq!(hash.to_hex().as_str(), text(held, "blake3"), "{name} {id} {}", disk.name);
                }
            }
        }
    }
}

#[test]
fn golden_packs_are_laid_out_as_the_tables_say() {
    let (header, trailer) = (Layout::of(behind(chapter("Packs"), "Header:")), Layout::of(behind(chapter("Packs"), "Trailer:")));
    let index = Layout::of(section("Index"));
    assert_eq!(header.size() as u64, fixed_number("pack header bytes"));
    assert_eq!(trailer.size() as u64, fixed_number("pack trailer bytes"));
    assert_eq!(index.size() as u64, fixed_number("index entry bytes"));
    let mut kinds = BTreeSet::new();
    for vault in folders().iter().map(|folder| open(folder)) {
        for name in vault.objects().into_iter().filter(|name| name.starts_with("packs/")) {
            let bytes = vault.object(&name);
            assert!(bytes.len() <= limit("PACK_BYTES_MAX"));
            assert_eq!(header.field(&bytes, "magic"), fixed("pack magic").as_bytes());
            assert_eq!(header.number(&bytes, "format version"), limit("FORMAT_VERSION") as u64);
            assert_eq!(header.number(&bytes, "reserved"), 0);
            assert_eq!(header.field(&bytes, "key id"), &vault.key("info of key id")[..8]);
            let end = bytes.len() - trailer.size();
            assert_eq!(trailer.field(&bytes[end..], "magic"), fixed("trailer magic").as_bytes());
            let start = end - trailer.number(&bytes[end..], "sealed length of the index") as usize;
            let named = (name, header.field(&bytes, "salt").to_vec());
            let pack = vault.pack(&named);
            let plain = pack.open("kind of index frame", fixed_number("index frame number") as u32, &bytes[start..end]);
            let (count, entries) = plain.split_at(4);
            assert_eq!(number(count), trailer.number(&bytes[end..], "number of frames"));
            assert_eq!(entries.len(), number(count) as usize * index.size());
            let mut at = header.size();
            for (frame, entry) in (0..).zip(entries.chunks(index.size())) {
                assert_eq!(index.number(entry, "offset"), at as u64, "frames follow one another without gaps");
                let sealed = &bytes[at..at + index.number(entry, "sealed length") as usize];
                at += sealed.len();
                let kind = ["kind of chunk frame", "kind of page frame"]
                    .into_iter()
                    .find(|kind| fixed_number(kind) == number(&entry[..1]));
                let plain = pack.open(kind.expect("a kind of frame"), frame, sealed);
                let chunks = index.number(entry, "chunks") as usize;
                assert!(chunks == 0 || plain.len() == chunks * limit("CHUNK_BYTES"));
                let overhead = (fixed_number("container prefix bytes") + fixed_number("tag bytes")) as usize;
                kinds.insert((chunks > 0, sealed.len() == plain.len() + overhead));
            }
            assert_eq!(at, start);
        }
    }
    assert!([(true, false), (true, true), (false, false)].iter().all(|kind| kinds.contains(kind)), "raw frames, too: {kinds:?}");
}

#[test]
fn golden_points_share_pages_and_packs() {
    let mut seen = BTreeSet::new();
    for vault in folders().iter().map(|folder| open(folder)) {
        for name in vault.objects().into_iter().filter(|name| name.ends_with("/point.json")) {
            let point = vault.record("point", &name);
            let others = |pack: &str| !pack.starts_with(&format!("packs/{}/", text(&point, "item")));
            let (packs, disks) = vault.manifest(&point);
            for place in disks.iter().flat_map(|disk| &disk.pages) {
                let Some(place) = place else {
                    seen.insert("page of zeros");
                    continue;
                };
                let page = vault.page(&packs, place);
                let borrows = page.packs[1..].iter().any(|(pack, _)| others(pack));
                seen.extend(others(&packs[place.pack].0).then_some("page of another item"));
                seen.extend((!others(&packs[place.pack].0) && borrows).then_some("chunks of another item"));
                seen.extend((page.packs.len() > 1).then_some("packs of earlier points"));
                seen.extend(page.entries.contains(&None).then_some("chunk of zeros"));
                let mut ids: Vec<_> = page.entries.iter().flatten().map(|(_, _, id)| id).collect();
                ids.sort();
                seen.extend(ids.windows(2).any(|pair| pair[0] == pair[1]).then_some("chunk twice"));
            }
        }
    }
    let wanted = [
        "chunk of zeros",
        "chunk twice",
        "chunks of another item",
        "packs of earlier points",
        "page of another item",
        "page of zeros",
    ];
    assert_eq!(seen, BTreeSet::from(wanted));
}

/// Members in the first column of the member table that `text` begins with: names, and whether they may be absent.
fn members(text: &'static str) -> Vec<(&'static str, bool)> {
    let table = tables(text).into_iter().find(|table| table.head == ["member", "value"]).expect("a table of members");
    let names = |cell: &'static str| {
        cell.trim_end_matches(" ?").split(", ").map(move |name| (name.trim_matches('`'), cell.ends_with(" ?")))
    };
    table.rows.iter().flat_map(|row| names(row[0])).collect()
}

fn assert_members(object: &str, body: &Value, text: &'static str) {
    let known = members(text);
    let found: Vec<&str> =
        body.as_object().unwrap_or_else(|| panic!("{object} is an object")).keys().map(String::as_str).collect();
    let unknown: Vec<&&str> = found.iter().filter(|name| !known.iter().any(|(known, _)| known == *name)).collect();
    assert!(unknown.is_empty(), "SPEC.md does not have {unknown:?} of {object}");
    let missing: Vec<_> = known.iter().filter(|(name, optional)| !optional && !found.contains(name)).collect();
    assert!(missing.is_empty(), "{object} lacks {missing:?}");
}

/// The kind of a record by its name, and the text about its members.
fn kind_of(name: &str) -> Option<(&'static str, &'static str)> {
    let parts: Vec<&str> = name.split('/').collect();
    Some(match parts[..] {
        ["vault.json"] => ("vault", section("`vault`")),
        ["keys", _] => ("key-slot", section("Key slots")),
        ["items", ..] => ("item", section("`item`")),
        ["points", .., "point.json"] => ("point", section("`point`")),
        ["jobs", _, _, "plan"] => ("plan", section("`plan`")),
        ["jobs", _, _, "decision"] => ("decision", ""),
        ["jobs", _, _, "done", ..] => ("marker", section("`marker`")),
        ["jobs", _, _, _] => ("job", section("`job`")),
        _ => return None,
    })
}

#[test]
fn golden_records_have_the_members_of_the_tables() {
    let mut kinds = BTreeSet::new();
    for vault in folders().iter().map(|folder| open(folder)) {
        for name in vault.objects() {
            let Some((kind, about)) = kind_of(&name) else {
                assert!(name.starts_with("packs/") || name.contains("/manifest-"), "{name} has a name of the grammar");
                continue;
            };
            let body = vault.record(kind, &name);
            kinds.insert(kind);
            if kind == "decision" {
                assert_eq!(text(&body, "decision"), "seal");
                continue;
            }
            assert_members(&name, &body, about);
            if matches!(kind, "plan" | "marker") && body["detail"].get("warnings").is_some() {
                assert_members(&name, &body["detail"], behind(about, "Of a backup, `detail` is:"));
            }
        }
    }
    let all: Vec<&str> = kinds.into_iter().collect();
    assert_eq!(all, ["decision", "item", "job", "key-slot", "marker", "plan", "point", "vault"]);
}

#[test]
fn golden_markers_hold_salts_and_samples_as_the_text_says() {
    let header = Layout::of(behind(chapter("Packs"), "Header:"));
    let (mut packs_seen, mut samples_seen) = (0, 0);
    for vault in folders().iter().map(|folder| open(folder)) {
        for name in vault.objects().into_iter().filter(|name| name.contains("/done/")) {
            let detail = &vault.record("marker", &name)["detail"];
            if detail.get("packs").is_none() {
                continue;
            }
            let packs: Vec<_> =
                array(detail, "packs").iter().map(|pack| (text(pack, "name").to_owned(), base64(&pack["salt"]))).collect();
            for (name, salt) in &packs {
                assert_eq!(header.field(&vault.object(name), "salt"), salt);
                packs_seen += 1;
            }
            for change in array(detail, "pages") {
                let at = &change["place"]["at"];
                let field = |member: &str| at[member].as_u64().expect("a number") as usize;
                let (pack, offset, sealed_bytes) = (field("pack"), field("offset"), field("sealed_bytes"));
                let page = vault.page(&packs, &Place { pack, frame: field("frame") as u32, offset, sealed_bytes });
                let samples: BTreeSet<u64> = page.entries.iter().flatten().map(|(_, _, id)| number(&id[..8])).collect();
                let sampled = samples.iter().filter(|sample| **sample % (1 << limit("SAMPLE_BITS_MIN")) == 0);
                assert_eq!(base64(&at["samples"]), sampled.clone().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>());
                samples_seen += sampled.count();
            }
        }
    }
    assert!(packs_seen > 0 && samples_seen > 0);
}
