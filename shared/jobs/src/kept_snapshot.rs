//! Snapshots that are kept for instant restore after their jobs have ended.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use stillpoint_model::{AttemptId, Error, ErrorKind, ItemName, JobId, Obtained, PointId, Result};
use stillpoint_vault::{Kind, Name, PointDisk};

use crate::{BackupPlan, Carrier, DiskOutcome, Engine, Job, KeptUntil, Operation, Outcome, Plan};

const KEPT: Kind = Kind::small("kept-snapshot");
const RELEASED: Kind = Kind::small("released-snapshot");

/// A backup's snapshot that is kept: the body of `snapshots/<item>/<job>/kept-<until>.json`, created after the job's plan and before its
/// transfer begins. From then on nobody gives the snapshot back before `until`. What it says follows from request and plan, so every
/// attempt writes the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptSnapshot {
    /// The job that took it; its plan says how it is read.
    pub job: JobId,
    /// The machine.
    pub item: ItemName,
    /// The point that the job is to make, and that the snapshot is restored as.
    pub point: PointId,
    /// The site that reaches it; of a job that one process carries, its host.
    pub host: String,
    /// Who brings the job's events.
    #[serde(default, skip_serializing_if = "Carrier::is_process")]
    pub carrier: Carrier,
    /// The instant whose bytes it shows.
    pub instant: Timestamp,
    /// When its time is over, on a whole second.
    pub until: Timestamp,
    /// Asked for and reached.
    pub consistency: Obtained,
    /// The disks, in order.
    pub disks: Vec<PointDisk>,
}

/// Says that a kept snapshot was given back.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Released {
    at: Timestamp,
    attempt: AttemptId,
}

/// A kept snapshot as the names of its records tell it: no object was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptListing {
    /// The machine.
    pub item: ItemName,
    /// The job that took it.
    pub job: JobId,
    /// When its time is over.
    pub until: Timestamp,
}

impl KeptListing {
    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until <= now
    }

    fn name(&self) -> Name {
        Name::KeptSnapshot(self.item.clone(), self.job, self.until)
    }
}

/// `seconds` after `instant`, on the next whole second: what names can say.
fn until(instant: Timestamp, seconds: u32) -> Timestamp {
    let end = instant.checked_add(SignedDuration::from_secs(i64::from(seconds))).unwrap_or(Timestamp::MAX);
    let whole = if end.subsec_nanosecond() == 0 { end.as_second() } else { end.as_second() + 1 };
    Timestamp::from_second(whole).unwrap_or(Timestamp::MAX)
}

impl KeptSnapshot {
    /// What is to be kept of a job with this plan, if anything: its request wants it, and the platform can.
    #[must_use]
    pub fn of(job: &Job, plan: &Plan<BackupPlan>) -> Option<Self> {
        let Operation::Backup { instant_restore_seconds, .. } = job.request.what else { return None };
        let BackupPlan { item, point, wanted, snapshot, .. } = &plan.detail;
        if instant_restore_seconds == 0 || !snapshot.lasting {
            return None;
        }
        let disk = |disk: &stillpoint_ports::DiskSnapshot| PointDisk { name: disk.name.clone(), size_bytes: disk.size_bytes };
        Some(Self {
            job: job.id,
            item: item.clone(),
            point: *point,
            host: job.request.host.clone(),
            carrier: job.request.carrier,
            instant: snapshot.instant,
            until: until(snapshot.instant, instant_restore_seconds),
            consistency: Obtained { wanted: *wanted, obtained: snapshot.obtained },
            disks: snapshot.disks.iter().map(disk).collect(),
        })
    }

    /// The outcome of a job of which nothing but this is left.
    #[must_use]
    pub fn outcome(&self, warnings: Vec<String>) -> Outcome {
        let disk = |PointDisk { name, size_bytes }: &PointDisk| DiskOutcome {
            name: name.clone(),
            size_bytes: *size_bytes,
            path: None,
            written_bytes: None,
        };
        Outcome { warnings, kept: Some(self.into()), disks: self.disks.iter().map(disk).collect(), ..Outcome::default() }
    }

    /// Sum of the disks' sizes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.disks.iter().map(|disk| disk.size_bytes).sum()
    }
}

impl From<&KeptSnapshot> for KeptUntil {
    fn from(KeptSnapshot { point, host, until, .. }: &KeptSnapshot) -> Self {
        Self { point: *point, host: host.clone(), until: *until }
    }
}

impl Engine {
    /// Records that a job's snapshot is kept. Repeating it is harmless.
    ///
    /// # Errors
    /// As the store.
    pub async fn keep_snapshot(&self, kept: &KeptSnapshot) -> Result<()> {
        let name = Name::KeptSnapshot(kept.item.clone(), kept.job, kept.until);
        unless_there(self.vault().create_record(KEPT, &name, kept).await)
    }

    /// Records that a kept snapshot was given back. Repeating it is harmless.
    ///
    /// # Errors
    /// As the store.
    pub async fn record_release(&self, item: &ItemName, job: JobId) -> Result<()> {
        let released = Released { at: self.vault().clock().now(), attempt: AttemptId::new(self.vault().ulid()) };
        unless_there(self.vault().create_record(RELEASED, &Name::ReleasedSnapshot(item.clone(), job), &released).await)
    }

    /// All snapshots that are kept, or whose time is over and that were not given back; oldest jobs of each machine first. One listing.
    ///
    /// # Errors
    /// As the store.
    pub async fn kept_snapshots(&self) -> Result<Vec<KeptListing>> {
        self.kept_under(Name::SNAPSHOTS).await
    }

    /// Those of one machine, oldest first. One listing.
    ///
    /// # Errors
    /// As the store.
    pub async fn kept_snapshots_of(&self, item: &ItemName) -> Result<Vec<KeptListing>> {
        self.kept_under(&Name::snapshots_folder(item)).await
    }

    /// That of one backup, if its snapshot is kept and was not given back. One listing, and none where nothing was to be kept.
    ///
    /// # Errors
    /// As the store.
    pub async fn kept_snapshot_of(&self, job: &Job) -> Result<Option<KeptListing>> {
        match &job.request.what {
            Operation::Backup { item, instant_restore_seconds: 1.., .. } => {
                Ok(self.kept_under(&Name::snapshot_folder(item, job.id)).await?.pop())
            }
            _ => Ok(None),
        }
    }

    /// Whether it is on record that a snapshot was given back.
    ///
    /// # Errors
    /// As the store.
    pub async fn is_given_back(&self, kept: &KeptSnapshot) -> Result<bool> {
        let name = Name::ReleasedSnapshot(kept.item.clone(), kept.job);
        match self.vault().store().size(&name.to_string()).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads the record of a kept snapshot.
    ///
    /// # Errors
    /// `missing`, `corrupt`; as the store.
    pub async fn read_kept(&self, listing: &KeptListing) -> Result<KeptSnapshot> {
        let name = listing.name();
        let kept: KeptSnapshot = self.vault().read_record(KEPT, &name).await?;
        let is_own = kept.item == listing.item && kept.job == listing.job && kept.until == listing.until;
        if is_own { Ok(kept) } else { Err(Error::corrupt(format!("{name} speaks of another snapshot"))) }
    }

    /// What the names of records under a folder say of each snapshot: until when it is kept, and whether it was given back.
    ///
    /// # Errors
    /// As the store.
    pub async fn snapshot_records(&self, prefix: &str) -> Result<BTreeMap<(ItemName, JobId), (Option<Timestamp>, bool)>> {
        let mut found = BTreeMap::<_, (Option<Timestamp>, bool)>::new();
        for entry in self.vault().store().list(prefix).await? {
            match entry.name.parse() {
                Ok(Name::KeptSnapshot(item, job, until)) => found.entry((item, job)).or_default().0 = Some(until),
                Ok(Name::ReleasedSnapshot(item, job)) => found.entry((item, job)).or_default().1 = true,
                _ => {}
            }
        }
        Ok(found)
    }

    async fn kept_under(&self, prefix: &str) -> Result<Vec<KeptListing>> {
        let standing = self.snapshot_records(prefix).await?.into_iter().filter(|(_, (_, released))| !released);
        Ok(standing.filter_map(|((item, job), (until, _))| Some(KeptListing { item, job, until: until? })).collect())
    }
}

/// A record that another attempt has written says the same.
fn unless_there<T>(created: Result<T>) -> Result<()> {
    match created {
        Err(error) if error.kind() != ErrorKind::Conflict => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_ends_on_a_whole_second_and_never_early() {
        let end = |instant: &str, seconds| until(instant.parse().unwrap(), seconds).to_string();
        assert_eq!(end("2026-03-23T02:30:00Z", 172_800), "2026-03-25T02:30:00Z");
        assert_eq!(end("2026-03-23T02:30:00.001Z", 60), "2026-03-23T02:31:01Z");
        assert_eq!(until(Timestamp::MAX, 60).as_second(), Timestamp::MAX.as_second());
    }
}
