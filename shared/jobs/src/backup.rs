//! What a backup's plan and markers say; written by `snapshot` and `transfer`, read by `commit`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_format::SealedText;
use stillpoint_model::{Consistency, DiskName, Extent, ItemName, PointId};
use stillpoint_ports::Snapshot;

use crate::BackupSlot;

/// A committed point whose chunks may be shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbour {
    /// The machine.
    pub item: ItemName,
    /// The point.
    pub point: PointId,
}

/// The backup's part of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupPlan {
    /// The machine.
    pub item: ItemName,
    /// Its platform.
    pub platform: String,
    /// The point to be: one job can make one point only.
    pub point: PointId,
    /// The consistency asked for.
    pub wanted: Consistency,
    /// When retention may take the point.
    pub keep_until: Option<Timestamp>,
    /// The slot it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<BackupSlot>,
    /// The point that pages are compared with.
    pub parent: Option<PointId>,
    /// Points of other machines that may hold similar pages.
    pub neighbours: Vec<Neighbour>,
    /// Packs of the parent or a neighbour that are missing or damaged: nothing may refer to them, so what they held is stored anew.
    pub avoid: Vec<String>,
    /// Packs of the parent that are sound and hardly needed: what they held is stored anew, so that they can go one day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thin: Vec<String>,
    /// What is known before anything is read.
    pub warnings: Vec<String>,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Where the platform tells changes: the instant at which all disks were last read and compared as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_compared: Option<Timestamp>,
    /// What the platform told of changes, of disks that are read as a whole to see whether it told all.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<DiskName, Vec<Extent>>,
    /// What the machine can be made again from, sealed for the point's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<SealedText>,
    /// What its firmware remembers, sealed likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_variables: Option<SealedText>,
}

/// What a segment adds to a pack's use by the point, against the parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackDelta {
    /// The pack's name.
    pub name: String,
    /// Its salt; base64 in JSON.
    #[serde(with = "encoded")]
    pub salt: [u8; 16],
    /// Its size.
    pub size_bytes: u64,
    /// Live chunks gained (or, negative, lost).
    pub chunks: i64,
    /// Stored bytes they account for.
    pub bytes: i64,
    /// Live pages gained.
    pub pages: i64,
}

/// Where a page of the new point lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PagePlace {
    /// All zeros.
    Zero,
    /// A page in a pack.
    At {
        /// Position in [`Transferred::packs`].
        pack: u32,
        /// The frame's number.
        frame: u32,
        /// First byte.
        offset: u32,
        /// Length, tag included.
        sealed_bytes: u32,
        /// Samples of its chunks; in JSON base64 of their little-endian bytes, since JSON numbers lose digits.
        #[serde(with = "encoded")]
        samples: Samples,
    },
}

/// A page that differs from the parent's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageChange {
    /// Its number on the disk.
    pub page: u32,
    /// Where it is now.
    pub place: PagePlace,
}

/// The backup's part of a marker. Pages of the segment that are not listed are as in the parent, or zero without one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transferred {
    /// Bytes read from the snapshot.
    pub read_bytes: u64,
    /// Bytes of chunks that differ from the parent's at the same place.
    pub changed_bytes: u64,
    /// Bytes of packs written.
    pub stored_bytes: u64,
    /// What the operator should know, at most one line a segment.
    pub warnings: Vec<String>,
    /// Packs whose use changes.
    pub packs: Vec<PackDelta>,
    /// Pages that change, by number.
    pub pages: Vec<PageChange>,
}

/// First eight bytes of sampled chunk ids, as numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples(pub Vec<u64>);

impl From<&Samples> for Vec<u8> {
    fn from(samples: &Samples) -> Self {
        samples.0.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }
}

impl TryFrom<Vec<u8>> for Samples {
    type Error = Vec<u8>;
    fn try_from(bytes: Vec<u8>) -> Result<Self, Vec<u8>> {
        let (samples, rest) = bytes.as_chunks::<8>();
        if rest.is_empty() { Ok(Self(samples.iter().map(|sample| u64::from_le_bytes(*sample)).collect())) } else { Err(bytes) }
    }
}

/// Bytes as base64.
mod encoded {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<T, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        for<'a> &'a T: Into<Vec<u8>>,
    {
        serializer.serialize_str(&BASE64.encode(&value.into()))
    }

    pub(super) fn deserialize<'de, T: TryFrom<Vec<u8>>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64.decode(text.as_bytes()).map_err(|_| D::Error::custom("not base64"))?;
        T::try_from(bytes).map_err(|_| D::Error::custom("wrong length"))
    }
}
