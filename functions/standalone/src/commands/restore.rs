use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::json;
use stillpoint_format::Manifest;
use stillpoint_jobs::{Job, Operation};
use stillpoint_model::{
    DiskName, Error, ItemName, JobId, Result,
    geometry::{CHUNK_BYTES, page_range},
};
use stillpoint_ports::TargetDisk;
use stillpoint_runtime::begin_job;
use stillpoint_vault::Point;

use super::{duration_ms, exit_code, outcome_of};
use crate::{disks, folders::Folders, interrupt::Interrupt, output, remote, session::Session, when};

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
    if session.global.json {
        output::json(&json!({
            "job": job.id,
            "point": outcome.point,
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
        output::line(&format!("restored in {:.1} s", duration_ms(&job) as f64 / 1000.0));
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

/// Restores and returns the ended job.
pub async fn restore(session: &Session, wanted: Wanted) -> Result<Job> {
    let point = when::resolve(&session.vault, &wanted.name, &wanted.point).await?;
    let manifest = session.vault.manifest(&point).await?;
    let disks = targets(&point, &manifest, &wanted)?;
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
    let what = Operation::Restore { item: wanted.name, point: point.id, disks };
    let begun = begin_job(&session.engine, session.request(what, site.as_str())).await?;
    let ended = session.complete(vec![begun], &mut interrupt).await?.pop();
    ended.ok_or_else(|| Error::internal("a job has no result"))
}

fn targets(point: &Point, manifest: &Manifest, wanted: &Wanted) -> Result<Vec<TargetDisk>> {
    let chosen: Vec<(DiskName, PathBuf)> = match &wanted.to {
        Some(folder) => point.disks.iter().map(|disk| (disk.name.clone(), folder.join(format!("{}.raw", disk.name)))).collect(),
        None => wanted.disks.clone(),
    };
    // Chunks are counted for the point as a whole; they are dealt out to its disks as far as each one's pages reach.
    let mut live_bytes = manifest.packs.iter().map(|used| used.live_chunks).sum::<u64>().saturating_mul(CHUNK_BYTES);
    let mut targets: Vec<TargetDisk> = Vec::with_capacity(chosen.len());
    for (name, path) in chosen {
        let map = manifest.disks.iter().find(|map| map.name == name);
        let map = map.ok_or_else(|| Error::missing(format!("point {} has no disk {name}", point.id)))?;
        if targets.iter().any(|target| target.name == name) {
            return Err(Error::invalid(format!("disk {name} is given twice")));
        }
        let pages = (0_u32..).zip(&map.pages).filter(|(_, page)| page.is_some());
        let reach: u64 = pages.map(|(number, _)| page_range(number, map.size_bytes)).map(|(start, end)| end - start).sum();
        let data_bytes = reach.min(live_bytes);
        live_bytes -= data_bytes;
        targets.push(TargetDisk {
            name,
            size_bytes: map.size_bytes,
            data_bytes,
            location: disks::location(&path)?,
            overwrite: wanted.overwrite,
        });
    }
    Ok(targets)
}
