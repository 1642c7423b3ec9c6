use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_format::{Encoded, Manifest, PackUse, SealedText, Sections};
use stillpoint_model::{DiskName, Error, ItemName, JobId, Obtained, PointId, Requests, Result};

use stillpoint_ports::TrackingReset;

use crate::{Name, PointEntry, Vault, record::POINT};

/// Points read at once when listing.
const POINTS_IN_FLIGHT: usize = 16;

/// The manifest object of a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestObject {
    /// Its name in the vault.
    pub name: String,
    /// Its sections and their hashes.
    pub sections: Sections,
}

/// One disk of a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointDisk {
    /// The disk's name.
    pub name: DiskName,
    /// Its size.
    pub size_bytes: u64,
}

/// A recovery point: the body of `points/<item>/<point>/point.json`. Creating it is the commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// The point.
    pub id: PointId,
    /// The machine.
    pub item: ItemName,
    /// The job that made it.
    pub job: JobId,
    /// The instant whose bytes it holds.
    pub instant: Timestamp,
    /// When it was committed.
    pub committed: Timestamp,
    /// The point it was compared with.
    pub parent: Option<PointId>,
    /// Asked for and reached.
    pub consistency: Obtained,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// When retention may take it, for an on-demand point.
    pub keep_until: Option<Timestamp>,
    /// The disks, in order.
    pub disks: Vec<PointDisk>,
    /// Bytes read from the snapshot.
    pub read_bytes: u64,
    /// Bytes of chunks that differ from the parent.
    pub changed_bytes: u64,
    /// Bytes of packs written for it.
    pub stored_bytes: u64,
    /// Requests that its job made to the vault, up to its commit.
    pub requests: Requests,
    /// For how long the guest's file systems stood still for it, if they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_ms: Option<u64>,
    /// Disks whose changes could not be told, so that all of them was read and compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tracking_resets: Vec<TrackingReset>,
    /// Where changes of a disk were told by its platform: the instant at which the machine's disks were last read and compared as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_compared: Option<Timestamp>,
    /// What the machine can be made again from, sealed for the point's name; see [`Vault::configuration`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<SealedText>,
    /// What its firmware remembers, sealed likewise; see [`Vault::firmware_variables`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_variables: Option<SealedText>,
    /// Where its manifest is.
    pub manifest: ManifestObject,
}

impl Point {
    /// The instant at which the machine's disks were last read and compared as a whole, on the way to this point.
    #[must_use]
    pub fn source_compared(&self) -> Timestamp {
        self.source_compared.unwrap_or(self.instant)
    }

    /// Size of all disks together.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.disks.iter().map(|disk| disk.size_bytes).sum()
    }
}

/// A point that is committed, whether or not its record can be read.
#[derive(Debug)]
pub struct PointListing {
    /// The point.
    pub id: PointId,
    /// Its marks, and what else lies in its folder.
    pub entry: PointEntry,
    /// Its record.
    pub point: Result<Point>,
}

impl Vault {
    /// Ids of a machine's committed points, oldest first.
    ///
    /// # Errors
    /// As the store.
    pub async fn point_ids(&self, item: &ItemName) -> Result<Vec<PointId>> {
        let entries = self.point_entries(item).await?;
        Ok(entries.into_iter().filter(PointEntry::is_point).map(|entry| entry.id).collect())
    }

    /// A machine's committed points, deleted ones included, oldest first. One that cannot be read does not hide the others.
    ///
    /// # Errors
    /// As the store.
    pub async fn points(&self, item: &ItemName) -> Result<Vec<PointListing>> {
        Ok(self.read_points(item, self.point_entries(item).await?).await)
    }

    /// The points among `entries` of a machine, as [`Vault::points`].
    pub async fn read_points(&self, item: &ItemName, entries: Vec<PointEntry>) -> Vec<PointListing> {
        let read =
            |entry: PointEntry| async move { PointListing { id: entry.id, point: self.point(item, entry.id).await, entry } };
        stream::iter(entries.into_iter().filter(PointEntry::is_point).map(read)).buffered(POINTS_IN_FLIGHT).collect().await
    }

    /// One point.
    ///
    /// # Errors
    /// `missing` when it is not committed, `corrupt`; as the store.
    pub async fn point(&self, item: &ItemName, id: PointId) -> Result<Point> {
        Ok(self.point_bytes(item, id).await?.0)
    }

    /// The same, and the bytes of its commit object.
    ///
    /// # Errors
    /// As [`Vault::point`].
    pub async fn point_bytes(&self, item: &ItemName, id: PointId) -> Result<(Point, Bytes)> {
        let (point, bytes): (Point, Bytes) = self.read_record_bytes(POINT, &Name::Point(item.clone(), id)).await?;
        if point.item == *item && point.id == id {
            Ok((point, bytes))
        } else {
            Err(Error::corrupt(format!("point {id} of {item} names another point")))
        }
    }

    /// Seals what the machine of a point can be made again from.
    ///
    /// # Errors
    /// `corrupt` when it is too long.
    pub fn seal_configuration(&self, item: &ItemName, point: PointId, text: &str) -> Result<SealedText> {
        let name = Name::Point(item.clone(), point).to_string();
        Ok(SealedText::seal(self.keys(), &name, self.salt(), text)?)
    }

    /// What the machine of a point can be made again from, as its platform wrote it down; `None` where it wrote nothing.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn configuration(&self, point: &Point) -> Result<Option<String>> {
        let name = Name::Point(point.item.clone(), point.id).to_string();
        let open = |sealed: &SealedText| {
            sealed.open(self.keys(), &name).map_err(|error| Error::from(error).context(format!("configuration in {name}")))
        };
        point.configuration.as_ref().map(open).transpose()
    }

    /// Creates a point's manifest object and returns where it is.
    ///
    /// # Errors
    /// As the store.
    pub async fn write_manifest(&self, name: &Name, encoded: Encoded) -> Result<ManifestObject> {
        let text = name.to_string();
        self.store().create(&text, vec![encoded.bytes.clone()]).await?;
        self.kept.keep(&text, &encoded.bytes);
        Ok(ManifestObject { name: text, sections: encoded.sections })
    }

    /// Commits a recovery point: until this succeeds no reader sees anything of it.
    ///
    /// # Errors
    /// `conflict` when another attempt of the same job committed it first; as the store.
    pub async fn commit_point(&self, point: &Point) -> Result<()> {
        self.create_record(POINT, &Name::Point(point.item.clone(), point.id), point).await.map(drop)
    }

    /// A point's whole manifest; one that this process created or read before is not asked for again.
    ///
    /// # Errors
    /// `missing`, `corrupt`; as the store.
    pub async fn manifest(&self, point: &Point) -> Result<Manifest> {
        Ok(self.manifest_bytes(point).await?.0)
    }

    /// The same, and the object's bytes.
    ///
    /// # Errors
    /// As [`Vault::manifest`].
    pub async fn manifest_bytes(&self, point: &Point) -> Result<(Manifest, Bytes)> {
        let object = &point.manifest;
        let context = |error: stillpoint_format::Error| Error::from(error).context(&object.name);
        let size = object.sections.object_bytes().ok_or_else(|| Error::corrupt(format!("{}: sections overlap", object.name)))?;
        let bytes = match self.kept.get(&object.name) {
            Some(bytes) => bytes,
            None => self.store().get(&object.name, size).await?,
        };
        let manifest = Manifest::decode(&bytes, &object.sections).map_err(context)?;
        self.kept.keep(&object.name, &bytes);
        Ok((manifest, bytes))
    }

    /// The packs that a point needs, without its disk maps.
    ///
    /// # Errors
    /// As [`Vault::manifest`].
    pub async fn packs_of(&self, point: &Point) -> Result<Vec<PackUse>> {
        let object = &point.manifest;
        let section = &object.sections.packs;
        object.sections.object_bytes().ok_or_else(|| Error::corrupt(format!("{}: sections overlap", object.name)))?;
        let bytes = self.store().get_range(&object.name, section.range()).await?;
        Manifest::decode_packs(section, &bytes).map_err(|error| Error::from(error).context(&object.name))
    }

    /// Bytes of packs that no other point of the machine needs, for each of `points`: what would be freed if it alone went.
    /// Points of other machines that borrow from these packs are not looked at.
    ///
    /// # Errors
    /// As [`Vault::packs_of`].
    pub async fn alone_bytes(&self, points: &[Point]) -> Result<Vec<u64>> {
        let read = |point| async move { self.packs_of(point).await };
        let packs: Vec<Vec<PackUse>> = stream::iter(points.iter().map(read)).buffered(POINTS_IN_FLIGHT).try_collect().await?;
        let mut users = std::collections::HashMap::<&str, u32>::new();
        for used in packs.iter().flatten() {
            *users.entry(&used.pack.name).or_default() += 1;
        }
        let alone = |used: &&PackUse| users.get(&*used.pack.name) == Some(&1);
        Ok(packs.iter().map(|packs| packs.iter().filter(alone).map(|used| used.size_bytes).sum()).collect())
    }
}
