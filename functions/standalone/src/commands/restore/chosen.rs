//! What is restored, and where to.

use std::{collections::BTreeMap, path::PathBuf};

use stillpoint_format::{Manifest, PackUse};
use stillpoint_jobs::{BackupPlan, KeptSnapshot};
use stillpoint_model::{DiskName, Error, ItemName, JobId, PointId, Result, geometry::CHUNK_BYTES};
use stillpoint_ports::{DiskSnapshot, TargetDisk, TargetLimits};
use stillpoint_restore::SourceDisk;
use stillpoint_runtime::host_name;
use stillpoint_vault::Point;

use super::estimate::PROBE_PACKS;
use crate::{
    args::Format,
    disks, remote,
    session::Session,
    when::{self, Found},
};

/// Which disks are restored, and where to.
pub enum Places {
    /// All, to files of this format in this folder.
    Folder(PathBuf, Format),
    /// These.
    Disks(Vec<(DiskName, PathBuf)>),
    /// All, in place of the machine's own, which stay beside them.
    Own(BTreeMap<DiskName, String>),
}

/// What the operator asked for.
pub struct Wanted {
    pub name: ItemName,
    pub point: String,
    pub places: Places,
    pub overwrite: bool,
    /// What the target may be asked for.
    pub limits: Option<TargetLimits>,
}

/// What a point takes in the vault; nothing of one that is only in a snapshot yet.
#[derive(Default)]
pub struct Stored {
    live_chunks: u64,
    live_bytes: u64,
    /// Some of its packs, the largest.
    pub packs: Vec<String>,
}

impl Stored {
    fn of(manifest: &Manifest) -> Self {
        let sum = |pick: fn(&PackUse) -> u64| manifest.packs.iter().map(pick).fold(0, u64::saturating_add);
        let mut packs: Vec<&PackUse> = manifest.packs.iter().collect();
        packs.sort_unstable_by_key(|used| std::cmp::Reverse(used.size_bytes));
        let packs = packs.into_iter().take(PROBE_PACKS).map(|used| used.pack.name.to_string()).collect();
        Self { live_chunks: sum(|used| used.live_chunks), live_bytes: sum(|used| used.live_bytes), packs }
    }

    /// Bytes of all its chunks.
    const fn data_bytes(&self) -> u64 {
        self.live_chunks.saturating_mul(CHUNK_BYTES)
    }

    /// What is read of it for so much data: each chunk its share, also where not all disks are restored.
    pub fn read_bytes(&self, data_bytes: u64) -> u64 {
        let all = self.data_bytes();
        let share = u128::from(self.live_bytes) * u128::from(data_bytes.min(all)) / u128::from(all.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

/// The point to restore.
pub struct Chosen {
    pub point: PointId,
    /// The backup whose snapshot it is read from; the vault without one.
    pub snapshot: Option<JobId>,
    pub stored: Stored,
    disks: Vec<SourceDisk>,
}

impl Chosen {
    pub async fn find(session: &Session, wanted: &Wanted) -> Result<Self> {
        match when::find(&session.engine, &wanted.name, &wanted.point).await? {
            Found::Vault(point) => Self::of_vault(session, &point, wanted).await,
            Found::Snapshot(kept) => Self::of_snapshot(session, &kept).await,
        }
    }

    async fn of_vault(session: &Session, point: &Point, wanted: &Wanted) -> Result<Self> {
        let manifest = session.vault.manifest(point).await?;
        let stored = Stored::of(&manifest);
        let disks = SourceDisk::of(&manifest, |name| match &wanted.places {
            Places::Disks(disks) => disks.iter().any(|(chosen, _)| chosen == name),
            Places::Folder(..) | Places::Own(_) => true,
        });
        Ok(Self { point: point.id, snapshot: None, stored, disks })
    }

    /// Snapshots are read where they are.
    async fn of_snapshot(session: &Session, kept: &KeptSnapshot) -> Result<Self> {
        let KeptSnapshot { point, item, host, until, .. } = kept;
        let is_here = *host == remote::site(&session.global)?.as_str() || session.remote.is_none() && *host == host_name();
        if !is_here {
            return Err(Error::invalid(format!(
                "point {point} of {item} is not in the vault yet, only in a snapshot at {host}; restore it there, until {until}"
            )));
        }
        let plan = session.engine.plan::<BackupPlan>(kept.job).await?.plan;
        let source = |disk: &DiskSnapshot| SourceDisk {
            name: disk.name.clone(),
            size_bytes: disk.size_bytes,
            data_bytes: disk.data().iter().map(|extent| extent.length).sum(),
        };
        let disks = plan.detail.snapshot.disks.iter().map(source).collect();
        Ok(Self { point: *point, snapshot: Some(kept.job), stored: Stored::default(), disks })
    }

    pub fn targets(&self, wanted: &Wanted) -> Result<Vec<TargetDisk>> {
        let chosen = self.locations(&wanted.places)?;
        let mut targets: Vec<TargetDisk> = Vec::with_capacity(chosen.len());
        for (name, location) in chosen {
            let source = self.disks.iter().find(|disk| disk.name == name);
            let source = source.ok_or_else(|| Error::missing(format!("point {} has no disk {name}", self.point)))?;
            if targets.iter().any(|target| target.name == name) {
                return Err(Error::invalid(format!("disk {name} is given twice")));
            }
            targets.push(TargetDisk {
                name,
                size_bytes: source.size_bytes,
                data_bytes: source.data_bytes,
                location,
                overwrite: wanted.overwrite,
                keep_replaced: matches!(wanted.places, Places::Own(_)),
                limits: wanted.limits.clone(),
            });
        }
        Ok(targets)
    }

    fn locations(&self, places: &Places) -> Result<Vec<(DiskName, String)>> {
        let all = self.disks.iter().map(|disk| &disk.name);
        match places {
            Places::Folder(folder, format) => all.map(|name| Ok((name.clone(), disks::within(folder, name, *format)?))).collect(),
            Places::Disks(disks) => disks.iter().map(|(name, place)| Ok((name.clone(), disks::target(place)?))).collect(),
            Places::Own(own) => {
                let lost = |name| {
                    Error::missing(format!(
                        "point {} has disk {name} and the machine no longer does; restore it with --disk",
                        self.point
                    ))
                };
                all.map(|name| Ok((name.clone(), own.get(name).ok_or_else(|| lost(name))?.clone()))).collect()
            }
        }
    }
}
