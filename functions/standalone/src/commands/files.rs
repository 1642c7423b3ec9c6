mod places;

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use stillpoint_files::{Copied, CopyOut, Entry, EntryKind, VolumePath, guarded, shown};
use stillpoint_model::{Error, PointId, Result};
use stillpoint_reader::{CACHE_BYTES_MIN, PointReader};
use tokio::runtime::Handle;

use super::ended_with;
use crate::{
    args::{Files, FilesCommand},
    interrupt::Interrupt,
    output,
    session::Session,
    when,
};
use places::{Place, Places};

/// Room for what a file system reads again and again, and for what is fetched ahead of a large file.
const CACHE_BYTES: u64 = 4 * CACHE_BYTES_MIN;

/// What was found.
enum Found {
    Volumes(Vec<Place>),
    Listed(Place, VolumePath, Vec<Entry>),
    Got(Place, VolumePath, PathBuf, Copied),
}

pub async fn run(session: &Session, wanted: Files) -> Result<ExitCode> {
    let point = when::resolve(&session.vault, &wanted.name, &wanted.point).await?;
    let reader = PointReader::open(session.vault.clone(), Arc::clone(&session.cpu), &point, CACHE_BYTES).await?;
    let (handle, is_stopped) = (Handle::current(), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&is_stopped);
    let work = tokio::task::spawn_blocking(move || guarded(|| find(&Places { reader, handle, stopped }, &wanted)));
    let mut interrupt = Interrupt::listen()?;
    let Some(found) = interrupt.until(work).await else {
        // What the file system asks for next is refused, and what was begun goes.
        is_stopped.store(true, Ordering::Relaxed);
        return Err(Error::fenced("interrupted by the operator"));
    };
    tell(session, point.id, found.map_err(|error| Error::internal("a file system's reader ended").with_source(error))??)
}

/// Everything that reads file systems, on one thread.
fn find(places: &Places, wanted: &Files) -> Result<Found> {
    let chosen = places.choose(wanted.disk.as_ref(), wanted.partition)?;
    match wanted.command.as_ref().unwrap_or(&FilesCommand::Volumes) {
        FilesCommand::Volumes => Ok(Found::Volumes(chosen)),
        FilesCommand::Ls { path } => {
            let path = VolumePath::parse(path.as_bytes())?;
            let (place, volume) = places::only(chosen, &path, wanted)?;
            let entry = volume.entry(&path)?;
            let entries = if entry.kind == EntryKind::Folder { volume.list(&path)? } else { vec![entry] };
            Ok(Found::Listed(place, path, entries))
        }
        FilesCommand::Get { path, to, recursive, overwrite } => {
            let path = VolumePath::parse(path.as_bytes())?;
            let target = target(&path, to.as_deref())?;
            let (place, volume) = places::only(chosen, &path, wanted)?;
            let copied = CopyOut::of(&volume, place.size_bytes()).run(&path, &target, *recursive, *overwrite)?;
            Ok(Found::Got(place, path, target, copied))
        }
    }
}

/// Where a file goes.
fn target(path: &VolumePath, to: Option<&Path>) -> Result<PathBuf> {
    let name = path.last().map(OsStr::from_bytes);
    match (to, name) {
        (Some(to), Some(name)) if to.is_dir() => Ok(to.join(name)),
        (Some(to), _) => Ok(to.to_owned()),
        (None, Some(name)) => Ok(PathBuf::from(name)),
        (None, None) => Err(Error::invalid("give the root a name here: --to FOLDER")),
    }
}

fn tell(session: &Session, point: PointId, found: Found) -> Result<ExitCode> {
    match found {
        Found::Volumes(places) => tell_volumes(session, point, &places),
        Found::Listed(place, path, entries) => tell_entries(session, point, &place, &path, &entries),
        Found::Got(place, path, target, copied) => {
            if session.global.json {
                let mut document = document(session, point, &place, &path);
                document["to"] = json!(shown(target.as_os_str().as_bytes()));
                document["files"] = json!(copied.files);
                document["folders"] = json!(copied.folders);
                document["links"] = json!(copied.links);
                document["bytes"] = json!(copied.bytes);
                document["warnings"] = json!(copied.warnings);
                output::json(&document)?;
            } else {
                let (bytes, target) = (output::bytes(copied.bytes), shown(target.as_os_str().as_bytes()));
                output::line(&format!("{} of {place}: {target}, {bytes} in {} files", path.shown(), copied.files));
            }
            Ok(ended_with(session, &copied.warnings))
        }
    }
}

/// What `--json` says of any answer.
fn document(session: &Session, point: PointId, place: &Place, path: &VolumePath) -> Value {
    json!({
        "point": point,
        "disk": place.disk,
        "partition": place.partition.as_ref().map(|partition| partition.number),
        "file_system": place.content.as_str(),
        "path": path.shown(),
        "command_requests": session.vault.store().requests(),
    })
}

fn tell_volumes(session: &Session, point: PointId, places: &[Place]) -> Result<ExitCode> {
    if session.global.json {
        let volumes: Vec<Value> = places.iter().map(Place::volume).collect();
        output::json(&json!({ "point": point, "volumes": volumes }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!("point {point}"));
    let row = |place: &Place| {
        let partition = place.partition.as_ref();
        let number = partition.map_or_else(|| "-".to_owned(), |partition| partition.number.to_string());
        let label = partition.map_or_else(String::new, |partition| shown(partition.label.as_bytes()));
        let files = if place.content.is_readable() { "yes" } else { "no" };
        vec![
            place.disk.to_string(),
            number,
            output::bytes(place.size_bytes()),
            place.content.as_str().to_owned(),
            files.to_owned(),
            label,
        ]
    };
    output::table(&["DISK", "PARTITION", ">SIZE", "HOLDS", "FILES", "LABEL"], places.iter().map(row).collect());
    Ok(ExitCode::SUCCESS)
}

fn tell_entries(session: &Session, point: PointId, place: &Place, path: &VolumePath, entries: &[Entry]) -> Result<ExitCode> {
    if session.global.json {
        let entry = |entry: &Entry| {
            json!({
                "name": shown(&entry.name),
                "type": entry.kind.as_str(),
                "size_bytes": entry.size_bytes,
                "modified": entry.modified.map(|modified| modified.to_string()),
                "mode": entry.mode.map(|mode| format!("{mode:04o}")),
                "target": entry.target.as_deref().map(shown),
            })
        };
        let mut document = document(session, point, place, path);
        document["entries"] = entries.iter().map(entry).collect();
        output::json(&document)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&format!("{} of {place}, point {point}", path.shown()));
    let row = |entry: &Entry| {
        let mut name = shown(&entry.name);
        if let Some(target) = &entry.target {
            name = format!("{name} -> {}", shown(target));
        }
        let modified = entry.modified.map_or_else(|| "-".to_owned(), |modified| modified.to_string());
        vec![entry.kind.as_str().to_owned(), entry.size_bytes.to_string(), modified, name]
    };
    output::table(&["TYPE", ">BYTES", "MODIFIED", "NAME"], entries.iter().map(row).collect());
    Ok(ExitCode::SUCCESS)
}
