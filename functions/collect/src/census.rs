use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use stillpoint_format::limits;
use stillpoint_model::{AttemptId, Error, ErrorKind, ItemName, PointId, Result};
use stillpoint_vault::{Kind, Name, Vault};

const CENSUS: Kind = Kind { name: "census", bytes_max: limits::PLAN_BYTES_MAX };

/// A pack's name in 16 bytes: a million packs are 16 MB. Two names that shared them would both be kept.
pub(crate) type PackKey = u128;

/// The key of a pack's name: the first half of its hash.
pub(crate) fn pack_key(name: &str) -> PackKey {
    let hash = stillpoint_format::digest(name.as_bytes());
    u128::from_str_radix(&hash[..32], 16).unwrap_or_default()
}

/// What a point refers to. A point is never changed, so this holds for as long as there is the point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Its manifest, by the attempt that wrote it.
    pub(crate) manifest: AttemptId,
    pub(crate) packs: Vec<PackKey>,
}

/// What a machine's points refer to.
pub(crate) type Census = BTreeMap<PointId, Needs>;

/// The body of `collect/census/<item>/<seq>.json`. The newest counts, and one that is lost costs reading the points again.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    item: ItemName,
    /// Keys of all packs, in hex.
    packs: Vec<String>,
    points: Vec<Known>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    point: PointId,
    manifest: AttemptId,
    /// Places in the list of packs.
    packs: Vec<u32>,
}

fn encode(item: &ItemName, census: &Census) -> Record {
    let mut places = HashMap::<PackKey, u32>::new();
    let mut packs = Vec::new();
    let mut points = Vec::with_capacity(census.len());
    for (point, needs) in census {
        let mut place = |key: &PackKey| {
            *places.entry(*key).or_insert_with(|| {
                packs.push(format!("{key:032x}"));
                packs.len() as u32 - 1
            })
        };
        let needed = needs.packs.iter().map(&mut place).collect();
        points.push(Known { point: *point, manifest: needs.manifest, packs: needed });
    }
    Record { item: item.clone(), packs, points }
}

fn decode(item: &ItemName, record: Record) -> Option<Census> {
    let keys: Vec<PackKey> = record.packs.iter().map(|key| u128::from_str_radix(key, 16).ok()).collect::<Option<_>>()?;
    let needs = |known: Known| {
        let packs = known.packs.iter().map(|place| keys.get(*place as usize).copied()).collect::<Option<_>>()?;
        Some((known.point, Needs { manifest: known.manifest, packs }))
    };
    (record.item == *item).then(|| record.points.into_iter().map(needs).collect::<Option<_>>())?
}

/// The census of a machine; empty when there is none that can be read.
pub(crate) async fn read_census(vault: &Vault, item: &ItemName, seq: u32) -> Result<Census> {
    match vault.read_record(CENSUS, &Name::Census(item.clone(), seq)).await {
        Ok(record) => Ok(decode(item, record).unwrap_or_default()),
        Err(error) if matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt) => Ok(Census::new()),
        Err(error) => Err(error),
    }
}

/// Writes a machine's next census. Facts that do not change cannot be wrong, so it does not matter who was first.
pub(crate) async fn write_census(vault: &Vault, item: &ItemName, seq: u32, census: &Census) -> Result<()> {
    match vault.create_record(CENSUS, &Name::Census(item.clone(), seq), &encode(item, census)).await {
        // A census that is too large saves nothing, and its points are read each time.
        Err(error) if !matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Invalid) => Err(error),
        _ => Ok(()),
    }
}

/// Reads what a point refers to: its record and one range of its manifest.
pub(crate) async fn read_needs(vault: &Vault, item: &ItemName, id: PointId) -> Result<Needs> {
    let point = vault.point(item, id).await?;
    let Ok(Name::Manifest(machine, named, manifest)) = point.manifest.name.parse() else {
        return Err(Error::corrupt(format!("{} is no name of a manifest", point.manifest.name)));
    };
    if machine != *item || named != id {
        return Err(Error::corrupt(format!("{} is another point's manifest", point.manifest.name)));
    }
    let packs = vault.packs_of(&point).await?;
    let keys: BTreeSet<PackKey> = packs.iter().map(|used| pack_key(&used.pack.name)).collect();
    Ok(Needs { manifest, packs: keys.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_census_says_what_it_was_told_and_nothing_of_another_machine() {
        let point = |number: u8| format!("01ARZ3NDEKTSV4RRFFQ69G5FA{number}").parse::<PointId>().unwrap();
        let manifest = "01ARZ3NDEKTSV4RRFFQ69G5FB0".parse().unwrap();
        let item: ItemName = "web-01".parse().unwrap();
        let needs = |packs: &[&str]| Needs { manifest, packs: packs.iter().map(|name| pack_key(name)).collect() };
        let census = Census::from([(point(1), needs(&["a", "b"])), (point(2), needs(&["b", "c"])), (point(3), needs(&[]))]);
        let record = encode(&item, &census);
        assert_eq!(record.packs.len(), 3, "each pack once");
        assert_eq!(decode(&item, record), Some(census.clone()));
        assert_eq!(decode(&"web-02".parse().unwrap(), encode(&item, &census)), None);
        let mut short = encode(&item, &census);
        short.packs.pop();
        assert_eq!(decode(&item, short), None, "a place without a pack");
    }
}
