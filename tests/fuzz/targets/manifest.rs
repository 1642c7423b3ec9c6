//! Manifests.

use serde_json::json;
use stillpoint_format::{DiskMap, Manifest, PackUse, PageRef, SampleIndex, Section, Sections, decompress, digest, limits};
use stillpoint_model::geometry::PAGE_BYTES;
use stillpoint_vault::Point;

use super::{Memory, Target};
use crate::{
    attempt::Outcome,
    corpus,
    sealing::{join, pack, raw, split},
};

/// The places of the sections as JSON, then the object: read with the hashes that stand there, and with those that fit.
pub const OBJECT: Target = Target {
    name: "manifest",
    is_text: false,
    bytes_max: 64 * 1024,
    inputs: 5_000,
    memory: Memory::Fixed(SECTIONS_BYTES),
    seeds: objects,
    check: object,
};

/// The three sections before they are compressed.
pub const SECTIONS: Target = Target {
    name: "manifest_of_a_writer",
    is_text: false,
    bytes_max: 64 * 1024,
    inputs: 5_000,
    memory: Memory::Fixed(SECTIONS_BYTES),
    seeds: || objects().iter().map(|input| plain(input)).collect(),
    check: sections,
};

/// A section may have 256 MiB, and what is made of it half as much again.
const SECTIONS_BYTES: usize = 512 << 20;

fn object(input: &[u8]) -> Outcome {
    let parts = split(input);
    let (places, object) = (parts.first().copied().unwrap_or_default(), parts.get(1).copied().unwrap_or_default());
    let claimed: Sections = serde_json::from_slice(places).map_err(|_| "the places are no JSON of sections")?;
    let unmended = read(object, &claimed);
    if claimed.object_bytes() != Some(object.len() as u64) {
        assert!(unmended.is_err(), "sections are not those of the object");
        return unmended;
    }
    let mend = |section: &Section| {
        let range = section.range();
        Section { blake3: digest(&object[range.start as usize..range.end as usize]), ..section.clone() }
    };
    let mended = Sections { packs: mend(&claimed.packs), disks: mend(&claimed.disks), samples: mend(&claimed.samples) };
    assert!(unmended.is_err() || mended == claimed, "a section opened that is not the signed one");
    read(object, &mended)
}

fn sections(input: &[u8]) -> Outcome {
    let parts = split(input);
    let mut object = [b"STILLMF\n".as_slice(), &limits::FORMAT_VERSION.to_le_bytes(), &[0; 6]].concat();
    let mut append = |part: usize| {
        let stored = raw(parts.get(part).copied().unwrap_or_default());
        let section = Section { offset: object.len() as u64, length: stored.len() as u64, blake3: digest(&stored) };
        object.extend(stored);
        section
    };
    let sections = Sections { packs: append(0), disks: append(1), samples: append(2) };
    read(&object, &sections)
}

fn read(object: &[u8], sections: &Sections) -> Outcome {
    let manifest = Manifest::decode(object, sections).map_err(|error| error.to_string())?;
    let packs = sections.packs.range();
    let alone = Manifest::decode_packs(&sections.packs, &object[packs.start as usize..packs.end as usize]);
    assert_eq!(alone.as_ref(), Ok(&manifest.packs));
    let again = manifest.encode().expect("what was read can be written");
    assert_eq!(Manifest::decode(&again.bytes, &again.sections).as_ref(), Ok(&manifest));
    for disk in &manifest.disks {
        assert!(disk.pages.iter().flatten().all(|page| (page.pack as usize) < manifest.packs.len()));
    }
    let pages: usize = manifest.disks.iter().map(|disk| disk.pages.len()).sum();
    assert!(manifest.samples.entries().iter().all(|(sample, _)| manifest.samples.pages(*sample).count() <= 4));
    Ok(format!("{} packs, {} disks, {} pages", manifest.packs.len().min(3), manifest.disks.len().min(3), pages.min(3)))
}

/// Manifests of the golden vaults, and some made here.
fn objects() -> Vec<Vec<u8>> {
    let files = corpus::tree("shared/format/testdata/v1");
    let golden = files.iter().filter(|(name, _)| name.ends_with("/point.json")).map(|(name, point)| {
        let record: serde_json::Value = serde_json::from_slice(point).expect("a record is JSON");
        let point: Point = serde_json::from_value(record["body"].clone()).expect("the body of a point");
        let place = files.iter().find(|(other, _)| {
            name.starts_with(&other[..other.find("points/").unwrap_or(0)]) && other.ends_with(&point.manifest.name)
        });
        input(&point.manifest.sections, &place.expect("a golden vault has its manifests").1)
    });
    golden.chain([made(0, &[]), made(1, &[1]), made(3, &[2, 40, 1])]).collect()
}

fn input(sections: &Sections, object: &[u8]) -> Vec<u8> {
    join(&[json!(sections).to_string().into_bytes(), object.to_vec()])
}

fn made(packs: u32, disks: &[u32]) -> Vec<u8> {
    let page = |n: u32| (n % 3 != 2).then_some(PageRef { pack: n % packs, frame: n, offset: 40 + n, sealed_bytes: 900 });
    let used = PackUse { pack: pack(), size_bytes: 9_000, live_chunks: 30, live_bytes: 8_000, live_pages: 2 };
    let disk = |(n, pages): (usize, &u32)| DiskMap {
        name: format!("disk{n}").parse().expect("a name"),
        size_bytes: u64::from(*pages) * PAGE_BYTES - 512,
        pages: (0..*pages).map(page).collect(),
    };
    let manifest = Manifest {
        packs: vec![used; packs as usize],
        disks: disks.iter().enumerate().map(disk).collect(),
        samples: SampleIndex::new(4, (0..10).map(|n| (n << 5, n as u32)).collect()),
    };
    let encoded = manifest.encode().expect("a manifest within its limits");
    input(&encoded.sections, &encoded.bytes)
}

fn plain(input: &[u8]) -> Vec<u8> {
    let parts = split(input);
    let sections: Sections = serde_json::from_slice(parts[0]).expect("a seed is sound");
    let plain = |section: &Section| {
        let stored = &parts[1][section.offset as usize..section.range().end as usize];
        decompress("section", stored, 1 << 20).expect("a seed is sound")
    };
    join(&[plain(&sections.packs), plain(&sections.disks), plain(&sections.samples)])
}
