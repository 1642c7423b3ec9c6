//! What `SPEC.md` says that readers must refuse, the crate refuses.

use stillpoint_format::{
    ChunkEntry, ChunkId, DiskMap, Error, FrameRef, HEADER_BYTES, Header, KeySlot, Manifest, MapPage, MasterKey, PackRef, PageRef,
    SlotKind, open_record, seal_record,
};
use stillpoint_model::geometry::{DISK_BYTES_MAX, PAGE_BYTES, page_count};

use crate::{MASTER, PACK, SALT, keys, pack, vault};

fn disk(name: &str, size_bytes: u64) -> DiskMap {
    DiskMap { name: name.parse().expect("a name"), size_bytes, pages: vec![None; page_count(size_bytes) as usize] }
}

fn decoded(disks: Vec<DiskMap>) -> Result<Manifest, Error> {
    let encoded = Manifest { disks, ..Manifest::default() }.encode().expect("it can be written");
    Manifest::decode(&encoded.bytes, &encoded.sections)
}

/// The object with another version in its header.
fn versioned(bytes: &[u8], version: u16) -> Vec<u8> {
    [&bytes[..8], &version.to_le_bytes(), &bytes[10..]].concat()
}

#[test]
fn versions_that_are_not_known() {
    let header = |version| Header::decode(&versioned(&pack().0[..HEADER_BYTES], version));
    assert!(header(1).is_ok());
    assert!(matches!(header(2), Err(Error::Newer { found: 2, known: 1, .. })));
    assert!(matches!(header(0), Err(Error::Malformed { .. })));

    let encoded = Manifest::default().encode().unwrap();
    let manifest = |version, more: &[u8]| {
        Manifest::decode(&[&versioned(&encoded.bytes, version), more].concat(), &encoded.sections).map(drop)
    };
    assert_eq!(manifest(1, &[]), Ok(()));
    for more in [&[][..], b"longer than its sections say"] {
        assert!(matches!(manifest(2, more), Err(Error::Newer { found: 2, known: 1, .. })));
    }
    assert_eq!(manifest(0, &[]), Err(Error::Authentication("manifest")));
    assert_eq!(manifest(1, b"x"), Err(Error::Authentication("manifest")));
}

#[test]
fn manifests_of_impossible_disks() {
    assert!(decoded(vec![disk("os", 512), disk("data", 512)]).is_ok());
    assert!(matches!(decoded(vec![disk("os", 512), disk("os", 1024)]), Err(Error::Malformed { .. })), "two disks of one name");
    for size_bytes in [0, 511, 513, DISK_BYTES_MAX + 512] {
        let pages = Vec::new();
        let impossible = DiskMap { size_bytes, pages, ..disk("os", 512) };
        assert!(matches!(decoded(vec![impossible]), Err(Error::Malformed { .. })), "{size_bytes} bytes");
    }
    let page = PageRef { pack: 0, frame: 0, offset: 40, sealed_bytes: 100 };
    let lost = DiskMap { pages: vec![Some(page)], ..disk("os", 512) };
    assert!(matches!(decoded(vec![lost]), Err(Error::Malformed { .. })), "a page names no pack");
    assert!(decoded(vec![disk("os", DISK_BYTES_MAX - PAGE_BYTES), disk("data", PAGE_BYTES)]).is_ok());
    assert!(matches!(decoded(vec![disk("os", DISK_BYTES_MAX), disk("data", 512)]), Err(Error::Limit { .. })), "too many pages");
}

#[test]
fn pages_that_point_outside() {
    let frame = FrameRef { pack: 0, number: 0, offset: 40, sealed_bytes: 100, chunks: 2 };
    let entry = ChunkEntry { frame: 0, place: 0, id: ChunkId([7; 32]) };
    let decoded = |frame: FrameRef, entry: ChunkEntry| {
        let own = PackRef { name: PACK.into(), salt: SALT };
        let (disk, packs) = ("os".parse().expect("a name"), vec![own.clone()]);
        let page = MapPage { disk, number: 0, packs, frames: vec![frame], entries: vec![Some(entry)] };
        MapPage::decode(&own, &page.encode().expect("it can be written")).map(drop)
    };
    assert_eq!(decoded(frame, entry), Ok(()));
    for frame in [
        FrameRef { pack: 1, ..frame },
        FrameRef { chunks: 0, ..frame },
        FrameRef { chunks: 17, ..frame },
        FrameRef { offset: 67_108_865, ..frame },
        FrameRef { sealed_bytes: 1_048_598, ..frame },
    ] {
        assert!(matches!(decoded(frame, entry), Err(Error::Malformed { .. })), "{frame:?}");
    }
    for entry in [ChunkEntry { frame: 1, ..entry }, ChunkEntry { place: 2, ..entry }] {
        assert!(matches!(decoded(frame, entry), Err(Error::Malformed { .. })), "{entry:?}");
    }
}

#[test]
fn records_that_are_no_objects_or_not_of_these_members() {
    let (kind, name) = ("point", "points/web-01/00000000040000000000000004/point.json");
    let sealed = String::from_utf8(seal_record(&keys().signature, kind, name, &[1, 2])).unwrap();
    let open = |text: &str| open_record::<Vec<u8>>(&keys().signature, kind, name, text.as_bytes());
    assert_eq!(open(&format!(" {sealed}\n")), Ok(vec![1, 2]));
    let values = ["\"kind\":", "\"name\":", "\"signature\":", "\"body\":"]
        .iter()
        .fold(sealed.clone(), |text, member| text.replace(member, ""));
    let array = format!("[{}]", values.trim_matches(['{', '}']));
    assert!(serde_json::from_str::<serde_json::Value>(&array).unwrap().is_array());
    let more = sealed.replacen('{', "{\"more\":1,", 1);
    let twice = sealed.replacen('{', "{\"kind\":\"point\",", 1);
    let behind = format!("{sealed}{{}}");
    for text in [array, more, twice, behind] {
        assert!(matches!(open(&text), Err(Error::Malformed { .. })), "{text}");
    }
}

#[test]
fn slots_with_a_salt_of_another_length() {
    let slot = KeySlot::wrap(vault(), SlotKind::KeyFile, &[1; 32], SALT, &MasterKey::new(MASTER));
    let mut json = serde_json::to_value(&slot).unwrap();
    let unwrapped = |json: &serde_json::Value| {
        let slot: KeySlot = serde_json::from_value(json.clone()).expect("a slot");
        slot.unwrap_with(vault(), &[1; 32]).map(drop)
    };
    assert_eq!(unwrapped(&json), Ok(()));
    for salt in ["", "AwMDAwMDAwMDAwMDAwMD", "AwMDAwMDAwMDAwMDAwMDAwM="] {
        json["salt"] = salt.into();
        assert!(matches!(unwrapped(&json), Err(Error::Malformed { .. })), "{salt}");
    }
}
