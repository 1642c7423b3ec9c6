use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::json;
use stillpoint_format::DiskMap;
use stillpoint_jobs::{BackupPlan, Job, KeptSnapshot, Operation};
use stillpoint_model::{
    DiskName, Error, ItemName, JobId, PointId, Result,
    geometry::{CHUNK_BYTES, page_range},
};
use stillpoint_ports::{DiskSnapshot, TargetDisk};
use stillpoint_runtime::{begin_job, host_name};
use stillpoint_vault::Point;

use super::{duration_ms, exit_code, outcome_of};
use crate::{
    disks,
    folders::Folders,
    interrupt::Interrupt,
    output, remote,
    session::Session,
    when::{self, Found},
};

/// What the operator asked for.
pub struct Wanted {
    pub name: ItemName,
    pub point: String,
    pub to: Option<PathBuf>,
    pub disks: Vec<(DiskName, PathBuf)>,
    pub overwrite: bool,
}

pub async fn run(session: &Session, wanted: Wanted) -> Result<ExitCode> {
    let job = restore(session, wanted).await?;
    let outcome = outcome_of(&job)?;
    let tier = if matches!(job.request.what, Operation::Restore { snapshot: Some(_), .. }) { "snapshot" } else { "vault" };
    if session.global.json {
        output::json(&json!({
            "job": job.id,
            "point": outcome.point,
            "tier": tier,
            "state": job.state(),
            "disks": outcome.disks,
            "duration_ms": duration_ms(&job),
        }))?;
    } else {
        for disk in &outcome.disks {
            let path = disk.path.clone().unwrap_or_default();
            let written = output::bytes(disk.written_bytes.unwrap_or(0));
            output::line(&format!("{}: {path}, {} ({written} written)", disk.name, output::bytes(disk.size_bytes)));
        }
        let from = if tier == "vault" { "the vault" } else { "its kept snapshot" };
        output::line(&format!("restored from {from} in {:.1} s", duration_ms(&job) as f64 / 1000.0));
    }
    Ok(exit_code(&[outcome]))
}

/// Makes the folder to restore to.
fn make_folder(path: &Path) -> Result<Folders> {
    let missing = Folders::missing(path);
    std::fs::create_dir_all(path)
        .map_err(|error| Error::from(error).context(format!("cannot make folder {}", path.display())))?;
    Ok(missing)
}

/// A disk that can be restored, as far as its target has to know.
struct Source {
    name: DiskName,
    size_bytes: u64,
    /// What is written at most.
    data_bytes: u64,
}

/// The point to restore.
struct Chosen {
    point: PointId,
    /// The backup whose snapshot it is read from; the vault without one.
    snapshot: Option<JobId>,
    disks: Vec<Source>,
}

impl Chosen {
    async fn find(session: &Session, wanted: &Wanted) -> Result<Self> {
        match when::find(&session.engine, &wanted.name, &wanted.point).await? {
            Found::Vault(point) => Self::of_vault(session, &point, wanted).await,
            Found::Snapshot(kept) => Self::of_snapshot(session, &kept).await,
        }
    }

    async fn of_vault(session: &Session, point: &Point, wanted: &Wanted) -> Result<Self> {
        let manifest = session.vault.manifest(point).await?;
        // Chunks are counted for the point as a whole; they are dealt out to the chosen disks as far as each one's pages reach.
        let mut live_bytes = manifest.packs.iter().map(|used| used.live_chunks).sum::<u64>().saturating_mul(CHUNK_BYTES);
        let is_chosen = |name: &DiskName| wanted.to.is_some() || wanted.disks.iter().any(|(chosen, _)| chosen == name);
        let source = |map: &DiskMap| {
            let pages = (0_u32..).zip(&map.pages).filter(|(_, page)| page.is_some());
            let reach: u64 = pages.map(|(number, _)| page_range(number, map.size_bytes)).map(|(start, end)| end - start).sum();
            let data_bytes = reach.min(live_bytes);
            live_bytes -= data_bytes;
            Source { name: map.name.clone(), size_bytes: map.size_bytes, data_bytes }
        };
        let disks = manifest.disks.iter().filter(|map| is_chosen(&map.name)).map(source).collect();
        Ok(Self { point: point.id, snapshot: None, disks })
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
        let source = |disk: &DiskSnapshot| Source {
            name: disk.name.clone(),
            size_bytes: disk.size_bytes,
            data_bytes: disk.data().iter().map(|extent| extent.length).sum(),
        };
        Ok(Self { point: *point, snapshot: Some(kept.job), disks: plan.detail.snapshot.disks.iter().map(source).collect() })
    }

    fn targets(&self, wanted: &Wanted) -> Result<Vec<TargetDisk>> {
        let chosen: Vec<(DiskName, PathBuf)> = match &wanted.to {
            Some(folder) => {
                self.disks.iter().map(|disk| (disk.name.clone(), folder.join(format!("{}.raw", disk.name)))).collect()
            }
            None => wanted.disks.clone(),
        };
        let mut targets: Vec<TargetDisk> = Vec::with_capacity(chosen.len());
        for (name, path) in chosen {
            let source = self.disks.iter().find(|disk| disk.name == name);
            let source = source.ok_or_else(|| Error::missing(format!("point {} has no disk {name}", self.point)))?;
            if targets.iter().any(|target| target.name == name) {
                return Err(Error::invalid(format!("disk {name} is given twice")));
            }
            targets.push(TargetDisk {
                name,
                size_bytes: source.size_bytes,
                data_bytes: source.data_bytes,
                location: disks::location(&path)?,
                overwrite: wanted.overwrite,
            });
        }
        Ok(targets)
    }
}

/// Restores and returns the ended job.
pub async fn restore(session: &Session, wanted: Wanted) -> Result<Job> {
    let chosen = Chosen::find(session, &wanted).await?;
    let disks = chosen.targets(&wanted)?;
    let mut interrupt = Interrupt::listen()?;
    session.take_on_unfinished(&mut interrupt).await?;
    let site = remote::site(&session.global)?;
    if let Some(remote) = &session.remote {
        remote.check(site.as_str()).await?;
    }
    // What can be refused is refused before there is a job; at another site only its workers can tell.
    let here = session.remote.is_none() || remote::is_here(&site);
    let _made = if here { wanted.to.as_deref().map(make_folder).transpose()? } else { None };
    if here {
        // Any id serves, because none is written anywhere.
        session.target.check(JobId::new(session.vault.ulid()), &disks).await?;
    }
    let what = Operation::Restore { item: wanted.name, point: chosen.point, disks, snapshot: chosen.snapshot };
    let begun = begin_job(&session.engine, session.request(what, site.as_str())).await?;
    let ended = session.complete(vec![begun], &mut interrupt).await?.pop();
    ended.ok_or_else(|| Error::internal("a job has no result"))
}
