//! `SPEC.md` against the crate: its limits, fixed values and test vectors are parsed and compared, and packs, manifests and
//! records are read again by code that knows the text's values only. [`golden`] does so with the vaults in `testdata/`.

#[path = "spec/by_hand.rs"]
mod by_hand;
#[path = "spec/golden.rs"]
mod golden;
#[path = "spec/refusals.rs"]
mod refusals;
#[path = "spec/text.rs"]
mod text;

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXLOWER};
use stillpoint_format::{
    ChunkEntry, ChunkId, DiskMap, FrameKind, FrameRef, KeySlot, Keys, Manifest, MapPage, MasterKey, PackBuilder, PackRef,
    PackUse, PageRef, SampleIndex, Section, ServiceKey, SlotKind, compress, limits, open_record, parse_recovery_key,
    recovery_key, seal_record,
};
use stillpoint_model::{NAME_BYTES_MAX, VaultId, geometry};

use text::{Pack, SPEC, Table, fixed, fixed_number, hkdf_sha256, open_gcm, signature, tables, uncontained, values};

const LIMITS: &str = include_str!("../src/limits.rs");
const PACK: &str = "packs/web-01/00000000020000000000000002/0000/000000-00000000030000000000000003-0000";
const MASTER: [u8; 32] = [9; 32];
const SALT: [u8; 16] = [3; 16];

fn vault() -> VaultId {
    "00000000010000000000000001".parse().expect("a ULID")
}

fn keys() -> Keys {
    Keys::derive(vault(), &MasterKey::new(MASTER))
}

fn vector(name: &str) -> String {
    values("Test vectors").remove(name).unwrap_or_else(|| panic!("SPEC.md has no test vector '{name}'"))
}

/// Opens a frame of the pack of the test vectors by the text.
fn open_frame(kind: &str, number: u32, sealed: &[u8]) -> Vec<u8> {
    let secret = hkdf_sha256(&vault().to_bytes(), &MASTER, &fixed("info of pack secret"));
    Pack { vault: vault().to_bytes(), secret, name: PACK, salt: &SALT }.open(kind, number, sealed)
}

fn container(plain: &[u8]) -> Vec<u8> {
    compress(plain, 3, &mut Vec::new()).expect("it decodes again")
}

/// A pack of one chunk frame and one page, and what it must hold.
fn pack() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let own = PackRef { name: PACK.into(), salt: SALT };
    let mut builder = PackBuilder::new(&keys(), own.clone());
    let chunks = [[1; 65536], [2; 65536]].concat();
    builder.push(FrameKind::Chunks, 2, container(&chunks));
    let page =
        MapPage { disk: "os".parse().expect("a name"), number: 7, packs: vec![own], frames: vec![], entries: vec![None; 3] };
    let page = page.encode().expect("a small page");
    builder.push(FrameKind::Page, 0, container(&page));
    (builder.finish().expect("a small pack").0.concat(), chunks, page)
}

#[test]
fn limits_are_those_of_the_code() {
    let mut code = BTreeMap::new();
    let mut limit = |name: &str, value: u64| drop(code.insert(name.to_owned(), value.to_string()));
    macro_rules! limits {
        ($($name:ident),* $(,)?) => { $(limit(stringify!($name), limits::$name as u64);)* };
    }
    limits!(
        FORMAT_VERSION,
        FRAME_CHUNKS_MAX,
        FRAME_BYTES_MAX,
        PACK_BYTES_MAX,
        SEALED_FRAME_BYTES_MAX,
        PACK_FRAMES_MAX,
        PAGE_PACKS_MAX,
        PACK_NAME_BYTES_MAX,
        PAGE_PLAIN_BYTES_MAX,
        MANIFEST_PAGES_MAX,
        MANIFEST_PACKS_MAX,
        SECTION_PLAIN_BYTES_MAX,
        SAMPLES_MAX,
        SAMPLE_BITS_MIN,
        RECORD_BYTES_MAX,
        SEALED_TEXT_BYTES_MAX,
        SEALED_TEXT_STORED_BYTES_MAX,
        PLAN_BYTES_MAX,
    );
    for (name, value) in [
        ("CHUNK_BYTES", geometry::CHUNK_BYTES),
        ("PAGE_CHUNKS", geometry::PAGE_CHUNKS as u64),
        ("PAGE_BYTES", geometry::PAGE_BYTES),
        ("SECTOR_BYTES", geometry::SECTOR_BYTES),
        ("DISK_BYTES_MAX", geometry::DISK_BYTES_MAX),
        ("DISKS_MAX", geometry::DISKS_MAX as u64),
        ("NAME_BYTES_MAX", NAME_BYTES_MAX as u64),
        // Stands in the vault crate, which depends on this one; its names are tested there.
        ("GROUP_SEGMENTS", 256),
    ] {
        limit(name, value);
    }
    assert_eq!(values("Limits"), code);
    let declared = LIMITS.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    let missing: Vec<&str> = declared.filter(|name| !code.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} are in limits.rs and not in SPEC.md");
}

#[test]
fn byte_tables_add_up() {
    let mut structures = 0;
    for Table { head, rows } in tables(SPEC) {
        if head[..2] != ["offset", "size"] {
            continue;
        }
        structures += 1;
        let mut end = Some(0_u64);
        for row in rows {
            let offset = row[0].parse::<u64>().ok();
            assert!(offset.is_none() || offset == end, "{row:?} begins elsewhere than the field above ends");
            end = offset.and_then(|offset| Some(offset + row[1].parse::<u64>().ok()?));
        }
    }
    assert_eq!(structures, 10);
}

#[test]
fn a_pack_is_read_by_the_text_alone() {
    let (bytes, chunks, page) = pack();
    let (header, trailer) = (fixed_number("pack header bytes") as usize, fixed_number("pack trailer bytes") as usize);
    assert_eq!((header, trailer), (stillpoint_format::HEADER_BYTES, stillpoint_format::TRAILER_BYTES));
    assert_eq!(fixed_number("pack salt bytes") as usize, stillpoint_format::SALT_BYTES);
    assert_eq!(bytes[..8], *fixed("pack magic").as_bytes());
    assert_eq!(bytes[8..16], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[16..24], hkdf_sha256(&vault().to_bytes(), &MASTER, &fixed("info of key id"))[..8]);
    assert_eq!(bytes[24..header], SALT);

    let end = bytes.len() - trailer;
    let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    assert_eq!((number(end + 4), &bytes[end + 8..]), (2, fixed("trailer magic").as_bytes()));
    let start = end - number(end) as usize;
    let index = open_frame("kind of index frame", fixed_number("index frame number") as u32, &bytes[start..end]);
    assert_eq!(index.len() as u64, 4 + 2 * fixed_number("index entry bytes"));
    let entry = |at: usize| (index[at], index[at + 1..at + 5].to_vec(), index[at + 5..at + 9].to_vec(), index[at + 9]);
    let (first, second) = (entry(4), entry(14));
    let place = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    assert_eq!((u64::from(first.0), first.3, place(&first.1)), (fixed_number("kind of chunk frame"), 2, header));
    assert_eq!((u64::from(second.0), second.3), (fixed_number("kind of page frame"), 0));
    assert_eq!(place(&second.1) + place(&second.2), start, "frames leave no gap");

    assert_eq!(open_frame("kind of chunk frame", 0, &bytes[header..place(&second.1)]), chunks);
    let opened = open_frame("kind of page frame", 1, &bytes[place(&second.1)..start]);
    assert_eq!(opened, page);
    let zero = (fixed_number("zero chunk") as u16).to_le_bytes();
    let text = [&[2, 0][..], b"os", &7_u32.to_le_bytes(), &[0; 8], &3_u32.to_le_bytes(), &zero, &zero, &zero].concat();
    assert_eq!(opened, text, "disk, number, no packs, no frames, three zero chunks");

    let sealed_raw =
        PackBuilder::new(&keys(), PackRef { name: PACK.into(), salt: SALT }).push(FrameKind::Chunks, 1, vec![0; 5]).1;
    assert_eq!(u64::from(sealed_raw.sealed_bytes), fixed_number("container prefix bytes") + fixed_number("tag bytes"));
}

#[test]
fn a_page_is_laid_out_as_the_text_says() {
    let own = PackRef { name: PACK.into(), salt: SALT };
    let other = PackRef { name: "packs/other".into(), salt: [5; 16] };
    let frame = |pack, number| FrameRef { pack, number, offset: 0x0102, sealed_bytes: 0x0304, chunks: 2 };
    let entry = |frame, place, id| Some(ChunkEntry { frame, place, id: ChunkId([id; 32]) });
    let page = MapPage {
        disk: "os".parse().unwrap(),
        number: 7,
        packs: vec![own, other],
        frames: vec![frame(1, 8), frame(0, 9)],
        entries: vec![entry(0, 1, 0xaa), None, entry(1, 0, 0xbb)],
    };
    let text = [
        &[2, 0, b'o', b's', 7, 0, 0, 0][..],
        &[1, 0, 0, 0, 11, 0],
        b"packs/other",
        &[5; 16],
        &[2, 0, 0, 0],
        &[1, 0, 8, 0, 0, 0, 2, 1, 0, 0, 4, 3, 0, 0, 2],
        &[0, 0, 9, 0, 0, 0, 2, 1, 0, 0, 4, 3, 0, 0, 2],
        &[3, 0, 0, 0],
        &[0, 0, 0xff, 0xff, 1, 0],
        &[1, 0],
        &[0xaa; 32],
        &[0xbb; 32],
    ];
    assert_eq!(page.encode().unwrap(), text.concat());
}

#[test]
fn a_manifest_is_laid_out_as_the_text_says() {
    let pack = PackRef { name: "packs/a".into(), salt: SALT };
    let packs = vec![PackUse { pack, size_bytes: 0x0102, live_chunks: 3, live_bytes: 4, live_pages: 5 }];
    let page = PageRef { pack: 0, frame: 6, offset: 0x0708, sealed_bytes: 9 };
    let disks =
        vec![DiskMap { name: "os".parse().unwrap(), size_bytes: 2 * geometry::PAGE_BYTES - 512, pages: vec![None, Some(page)] }];
    let samples = SampleIndex::new(4, vec![(0x110, 1), (0x0a20, 1)]);
    let encoded = Manifest { packs, disks, samples }.encode().unwrap();
    let header = fixed_number("manifest header bytes");
    assert_eq!((&encoded.bytes[..8], encoded.sections.packs.offset), (fixed("manifest magic").as_bytes(), header));
    assert_eq!(encoded.bytes[8..16], [1, 0, 0, 0, 0, 0, 0, 0]);

    let plain = |section: &Section| {
        let stored = &encoded.bytes[section.offset as usize..][..section.length as usize];
        assert_eq!(section.blake3, blake3::hash(stored).to_hex().as_str());
        uncontained(stored)
    };
    let u64s = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let used = [&[1, 0, 0, 0, 7, 0][..], b"packs/a", &SALT, &u64s(&[0x0102, 3, 4, 5])].concat();
    assert_eq!(plain(&encoded.sections.packs), used);
    let zero = (fixed_number("zero page") as u32).to_le_bytes();
    let columns = [&zero[..], &[0, 0, 0, 0], &[6, 0, 0, 0], &[8, 7, 0, 0], &[9, 0, 0, 0]].concat();
    assert_eq!(plain(&encoded.sections.disks), [&[1, 0, 0, 0, 2, 0, b'o', b's'][..], &u64s(&[0x03ff_fe00]), &columns].concat());
    let samples = [&[4, 2, 0, 0, 0][..], &u64s(&[0x110, 0x0a20]), &[1, 0, 0, 0, 1, 0, 0, 0]].concat();
    assert_eq!(plain(&encoded.sections.samples), samples);
}

#[test]
fn a_record_is_signed_as_the_text_says() {
    let (kind, name) = ("point", "points/web-01/00000000040000000000000004/point.json");
    let body = BTreeMap::from([("size_bytes", 42)]);
    let sealed = seal_record(&keys().signature, kind, name, &body);
    let key = hkdf_sha256(&vault().to_bytes(), &MASTER, &fixed("info of signature key"));
    let signature = signature(&key, kind, name, "{\"size_bytes\":42}");
    let text =
        format!("{{\"kind\":\"{kind}\",\"name\":\"{name}\",\"signature\":\"{signature}\",\"body\":{{\"size_bytes\":42}}}}");
    assert_eq!(String::from_utf8(sealed).unwrap(), text);
    assert_eq!(open_record::<BTreeMap<String, u64>>(&keys().signature, kind, name, text.as_bytes()).unwrap()["size_bytes"], 42);
    assert_eq!(signature, vector("signature of that record"));
}

#[test]
fn a_slot_and_a_recovery_key_open_as_the_text_says() {
    assert_eq!(fixed_number("secret bytes") as usize, stillpoint_format::SECRET_BYTES);
    let secret: [u8; 32] = std::array::from_fn(|i| i as u8);
    let master = MasterKey::new(MASTER);
    let kept = |kind| KeySlot::wrap(vault(), kind, &secret, SALT, &master);
    let service = ServiceKey::new(&vector("KMS key"), &BASE64.decode(vector("KMS blob").as_bytes()).unwrap());
    let kms = KeySlot::wrap_for_service(vault(), service, &secret, SALT, &master);
    for (slot, label) in [(kept(SlotKind::KeyFile), "key-file"), (kept(SlotKind::RecoveryKey), "recovery-key"), (kms, "kms")] {
        let json = serde_json::to_value(&slot).unwrap();
        assert_eq!(json["kind"], label);
        if label == "kms" {
            assert_eq!(json["kms"], serde_json::json!({"key": vector("KMS key"), "blob": vector("KMS blob")}));
        }
        let decode = |member: &str| BASE64.decode(json[member].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(decode("salt"), SALT);
        let associated = [&vault().to_bytes()[..], label.as_bytes()].concat();
        let key = hkdf_sha256(&SALT, &secret, &fixed("info of slot key"));
        assert_eq!(open_gcm(key, [0; 12], &associated, &decode("wrapped")).as_deref(), Some(&MASTER[..]));
        assert_eq!(HEXLOWER.encode(&decode("wrapped")), vector(&format!("wrapped, {label}")));
    }
    let check = blake3::derive_key(&fixed("context of recovery key check"), &secret);
    assert_eq!(HEXLOWER.encode(&check[..3]), vector("recovery key check"));
    assert_eq!(recovery_key(&secret), vector("recovery key"));
    assert_eq!(parse_recovery_key(&vector("recovery key")).unwrap(), secret);
}

#[test]
fn keys_and_chunk_ids_are_those_of_the_vectors() {
    let derived = |info: &str| HEXLOWER.encode(&hkdf_sha256(&vault().to_bytes(), &MASTER, &fixed(info)));
    assert_eq!(derived("info of signature key"), vector("signature key"));
    assert_eq!(derived("info of chunk-id key"), vector("chunk-id key"));
    assert_eq!(derived("info of pack secret"), vector("pack secret"));
    assert_eq!(HEXLOWER.encode(&keys().key_id()), vector("key id"));
    let secret = hkdf_sha256(&vault().to_bytes(), &MASTER, &fixed("info of pack secret"));
    assert_eq!(vector("pack's name"), PACK);
    let info = fixed("info of pack key, before the pack's name") + PACK;
    assert_eq!(HEXLOWER.encode(&hkdf_sha256(&SALT, &secret, &info)), vector("pack key"));
    let ChunkId(id) = keys().chunk_id(&[1; 65536]);
    assert_eq!(HEXLOWER.encode(&id), vector("chunk id of 65,536 bytes of 01"));
    assert_eq!(ChunkId(id).prefix().to_string(), vector("sample of that chunk, decimal"));
}

#[test]
fn every_derivation_is_in_the_text() {
    let sources = [
        include_str!("../src/keys.rs"),
        include_str!("../src/pack.rs"),
        include_str!("../src/slot.rs"),
        include_str!("../src/record.rs"),
    ];
    let literals =
        sources.iter().flat_map(|source| source.split('"').skip(1).step_by(2)).filter(|text| text.starts_with("stillpoint "));
    let known: Vec<String> = values("Fixed values").into_values().collect();
    for literal in literals.filter(|text| !text.contains('{')) {
        assert!(known.iter().any(|value| value == literal), "'{literal}' is in the code and not in SPEC.md");
    }
}
