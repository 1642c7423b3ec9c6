use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_format::limits;
use stillpoint_model::{Error, ErrorKind, ItemName, JobId, PointId, Result};

use crate::{Kind, Name, PointEntry, Vault};

const WAITS: Kind = Kind { name: "collection-waits", bytes_max: limits::PLAN_BYTES_MAX };
const COLLECTION: Kind = Kind { name: "collection", bytes_max: limits::PLAN_BYTES_MAX };
/// Records that are read again because the newest changed meanwhile.
const LOOKS: u32 = 5;

/// What one run of `collect` condemned: the body of `collect/<seq>.json`. A job that creates its ledger after this record refers to
/// nothing in it; one that did so before is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    /// When it was written.
    pub at: Timestamp,
    /// The job of `collect` that wrote it.
    pub job: JobId,
    /// Earlier records whose condemned are not all settled.
    pub open: Vec<u32>,
    /// Points to be freed.
    pub points: Vec<(ItemName, PointId)>,
    /// Packs and manifests to be deleted.
    pub objects: Vec<String>,
}

/// Whom a record of `collect` waits for: the body of `collect/<seq>-waits.json`. It was listed after the record was there, so it names
/// every job that may have looked for what is condemned before it could find this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waits {
    /// When the jobs were listed.
    pub at: Timestamp,
    /// Those that had not ended.
    pub jobs: Vec<JobId>,
}

/// What lies in the folder of `collect`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectNames {
    /// Numbers of records, rising.
    pub records: Vec<u32>,
    /// Records whose waits are there.
    pub waits: BTreeSet<u32>,
    /// Numbers of each machine's censuses, rising.
    pub censuses: BTreeMap<ItemName, Vec<u32>>,
}

/// All that is condemned and not known to be settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condemned {
    /// Points.
    pub points: BTreeSet<(ItemName, PointId)>,
    /// Packs and manifests.
    pub objects: BTreeSet<String>,
}

impl Condemned {
    /// Whether a point is about to be freed. One that is wanted again is not: it is as good as any other, but for being referred to by
    /// backups (those ask for `points`).
    #[must_use]
    pub fn frees(&self, item: &ItemName, entry: &PointEntry) -> bool {
        self.points.contains(&(item.clone(), entry.id)) && !entry.is_wanted_again()
    }
}

impl Vault {
    /// Numbers of the records of `collect`, rising.
    ///
    /// # Errors
    /// As the store.
    pub async fn collections(&self) -> Result<Vec<u32>> {
        // Jobs ask for these: the censuses in the folder below are none of their business.
        let listed = self.store().list_folder(Name::COLLECT).await?.objects;
        let seq = |name| if let Name::Collect(seq) = name { Some(seq) } else { None };
        Ok(listed.iter().filter_map(|entry| seq(entry.name.parse().ok()?)).collect())
    }

    /// What lies in the folder of `collect`; one listing.
    ///
    /// # Errors
    /// As the store.
    pub async fn collect_names(&self) -> Result<CollectNames> {
        let mut found = CollectNames::default();
        for entry in self.store().list(Name::COLLECT).await? {
            match entry.name.parse() {
                Ok(Name::Collect(seq)) => found.records.push(seq),
                Ok(Name::CollectWaits(seq)) => drop(found.waits.insert(seq)),
                Ok(Name::Census(item, seq)) => found.censuses.entry(item).or_default().push(seq),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Reads whom a record of `collect` waits for.
    ///
    /// # Errors
    /// `missing` when the run that wrote the record died before it listed them; `corrupt`; as the store.
    pub async fn waits(&self, seq: u32) -> Result<Waits> {
        self.read_record(WAITS, &Name::CollectWaits(seq)).await
    }

    /// Creates whom a record of `collect` waits for. Whoever was first counts: all of them listed after the record was there.
    ///
    /// # Errors
    /// As the store.
    pub async fn create_waits(&self, seq: u32, waits: &Waits) -> Result<()> {
        match self.create_record(WAITS, &Name::CollectWaits(seq), waits).await {
            Err(error) if error.kind() != ErrorKind::Conflict => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads a record of `collect`.
    ///
    /// # Errors
    /// `missing`, `corrupt`; as the store.
    pub async fn collection(&self, seq: u32) -> Result<Collection> {
        self.read_record(COLLECTION, &Name::Collect(seq)).await
    }

    /// Creates a record of `collect`.
    ///
    /// # Errors
    /// `conflict` when another run was faster; as the store.
    pub async fn create_collection(&self, seq: u32, collection: &Collection) -> Result<()> {
        self.create_record(COLLECTION, &Name::Collect(seq), collection).await.map(drop)
    }

    /// What is condemned now. A job asks after its ledger is there, and refers to nothing of this.
    ///
    /// # Errors
    /// `corrupt`; as the store.
    pub async fn condemned(&self) -> Result<Condemned> {
        for _ in 0..LOOKS {
            match self.condemned_at(self.collections().await?.last().copied()).await {
                // A run that settled a record has removed it; a newer one says what is open now.
                Err(error) if error.kind() == ErrorKind::Missing => {}
                other => return other,
            }
        }
        Err(Error::unavailable("the records of collect keep changing"))
    }

    async fn condemned_at(&self, newest: Option<u32>) -> Result<Condemned> {
        let mut condemned = Condemned::default();
        let Some(newest) = newest else { return Ok(condemned) };
        let newest = self.collection(newest).await?;
        let mut records = Vec::new();
        for seq in &newest.open {
            records.push(self.collection(*seq).await?);
        }
        records.push(newest);
        for record in records {
            condemned.points.extend(record.points);
            condemned.objects.extend(record.objects);
        }
        Ok(condemned)
    }
}
