use std::collections::BTreeMap;

use stillpoint_format::{Manifest, PackUse};
use stillpoint_model::ItemName;
use stillpoint_vault::Name;

/// A pack is thin when the point needs less than one in so many of its bytes. Storing the rest again then gives back three times
/// what it costs, at least.
const THIN: u64 = 4;
/// Smaller packs are left alone: a pack with a few chunks cannot waste much.
const PACK_BYTES_MIN: u64 = 256 << 10;
/// Most live bytes that one backup stores again for this: one pack. It bounds what a backup takes longer, and a thin pack that has no room
/// in this one has it in a later one.
const AGAIN_BYTES_MAX: u64 = 64 << 20;

/// Packs of `machine` that the point hardly needs, thinnest first: what it needs of them is worth storing again. Those of other machines
/// are theirs to thin out, and most likely full of what these need.
pub(crate) fn thin_packs(machine: &ItemName, parent: &Manifest) -> Vec<String> {
    let mut pages = BTreeMap::<u32, u64>::new();
    for page in parent.disks.iter().flat_map(|disk| &disk.pages).flatten() {
        *pages.entry(page.pack).or_default() += u64::from(page.sealed_bytes);
    }
    let is_own = |used: &PackUse| matches!(used.pack.name.parse(), Ok(Name::Pack { item, .. }) if item == *machine);
    // Map pages count, too: a pack may consist of little else.
    let live = |place: u32, used: &PackUse| used.live_bytes + pages.get(&place).copied().unwrap_or(0);
    let packs = (0_u32..).zip(&parent.packs).map(|(place, used)| (live(place, used), used));
    let is_thin = |(live, used): &(u64, &PackUse)| used.size_bytes >= PACK_BYTES_MIN && live * THIN < used.size_bytes;
    let mut thin: Vec<(u64, &PackUse)> = packs.filter(is_thin).filter(|(_, used)| is_own(used)).collect();
    thin.sort_by_key(|(live, used)| (live * 1000 / used.size_bytes, *live));
    let mut again = 0;
    let fits = thin.into_iter().take_while(|(live, _)| {
        again += live;
        again <= AGAIN_BYTES_MAX
    });
    fits.map(|(_, used)| used.pack.name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use stillpoint_format::{DiskMap, PackRef, PageRef};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn pack(item: &str, number: u32, size_bytes: u64, live_bytes: u64) -> PackUse {
        let name = Name::Pack {
            item: item.parse().unwrap(),
            job: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap(),
            segment: number,
            attempt: "01ARZ3NDEKTSV4RRFFQ69G5FB0".parse().unwrap(),
            number: 0,
        };
        let pack = PackRef { name: name.to_string().as_str().into(), salt: [0; 16] };
        PackUse { pack, size_bytes, live_chunks: 1, live_bytes, live_pages: 0 }
    }

    fn chosen(packs: Vec<PackUse>, pages: &[(u32, u32)]) -> Vec<u32> {
        let page =
            |(pack, sealed_bytes): &(u32, u32)| Some(PageRef { pack: *pack, frame: 0, offset: 0, sealed_bytes: *sealed_bytes });
        let map = DiskMap { name: "os".parse().unwrap(), size_bytes: 0, pages: pages.iter().map(page).collect() };
        let parent = Manifest { packs, disks: vec![map], ..Manifest::default() };
        let segment = |name: String| match name.parse() {
            Ok(Name::Pack { segment, .. }) => segment,
            _ => panic!("{name}"),
        };
        thin_packs(&"web-01".parse().unwrap(), &parent).into_iter().map(segment).collect()
    }

    #[test]
    fn packs_below_a_quarter_are_chosen_thinnest_first() {
        let packs = vec![
            pack("web-01", 0, 40 * MIB, 10 * MIB),
            pack("web-01", 1, 40 * MIB, 10 * MIB - 1),
            pack("web-01", 2, 40 * MIB, MIB),
            pack("web-02", 3, 40 * MIB, MIB),
            pack("web-01", 4, 200 << 10, 1 << 10),
        ];
        assert_eq!(chosen(packs, &[]), [2, 1]);
    }

    #[test]
    fn map_pages_are_alive_as_well() {
        let packs = vec![pack("web-01", 0, MIB, 100 << 10), pack("web-01", 1, MIB, 100 << 10)];
        assert_eq!(chosen(packs, &[(1, 100 << 10), (1, 100 << 10)]), [0]);
    }

    #[test]
    fn one_backup_stores_no_more_again_than_a_pack_holds() {
        let packs = (0..10).map(|number| pack("web-01", number, 64 * MIB, 15 * MIB)).collect();
        assert_eq!(chosen(packs, &[]), [0, 1, 2, 3]);
    }
}
