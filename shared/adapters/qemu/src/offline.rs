//! Machines that are off: their disks are read through QEMU's storage daemon, which outlives the process that starts it.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use stillpoint_model::{Error, ErrorKind, JobId, Result};
use stillpoint_ports::{DiskSource, FoundDisk, MachineSource};
use tokio::process::Command;

use crate::{
    machine::{MachineDisk, NodeInfo, parse_location},
    names,
    qmp::Qmp,
    scratch,
    settings::Settings,
    teardown::remove_bitmaps,
};

const PROGRAM: &str = "qemu-storage-daemon";

/// The daemon's monitor: beside the machine's own.
pub(crate) fn socket(settings: &Settings, job: JobId) -> PathBuf {
    settings.qmp.parent().unwrap_or(Path::new("/")).join(names::daemon_socket(job))
}

/// Jobs whose daemons hold disks of this machine. Sockets of many machines may lie in one folder, so each daemon is asked.
///
/// # Errors
/// `denied` when the folder cannot be read; as the daemons.
pub(crate) async fn holders(settings: &Settings, machine: &MachineSource) -> Result<Vec<JobId>> {
    let mut holders = Vec::new();
    for (job, socket) in sockets(settings)? {
        let mut qmp = match Qmp::connect(&socket).await {
            Ok(qmp) => qmp,
            // It is gone, and its socket stayed.
            Err(error) if error.kind() == ErrorKind::Missing => {
                scratch::remove(&socket)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let nodes: Vec<NodeInfo> = qmp.query("query-named-block-nodes", json!({ "flat": true })).await?;
        let holds = |disk: &DiskSource| {
            parse_location(disk).is_ok_and(|(_, path)| nodes.iter().any(|info| Path::new(&info.file) == path))
        };
        if machine.disks.iter().any(holds) {
            holders.push(job);
        }
    }
    Ok(holders)
}

/// What can be told of a disk of a machine that is off without opening it for writing.
///
/// # Errors
/// `missing`, `denied`; `invalid` when it is no image of its format.
pub(crate) fn inspect(source: &DiskSource) -> Result<FoundDisk> {
    let (format, path) = parse_location(source)?;
    let size = || {
        let mut file = File::open(path)?;
        if format != "qcow2" {
            return file.seek(SeekFrom::End(0));
        }
        // Magic, version, backing file's offset and length, cluster bits; then the size.
        let mut header = [0; 32];
        file.read_exact(&mut header)?;
        let (magic, size) = (&header[..4], &header[24..]);
        if magic != b"QFI\xfb" {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no qcow2 image"));
        }
        Ok(u64::from_be_bytes(size.try_into().unwrap_or_default()))
    };
    let size_bytes = size().map_err(|error| Error::from(error).context(format!("disk {} at {}", source.name, path.display())))?;
    Ok(FoundDisk { source: source.clone(), size_bytes })
}

fn sockets(settings: &Settings) -> Result<Vec<(JobId, PathBuf)>> {
    let folder = settings.qmp.parent().unwrap_or(Path::new("/"));
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| Error::from(error).context(folder.display()))?,
    };
    let job = |name: &str| name.strip_prefix(".sp-")?.strip_suffix(".qmp")?.parse().ok();
    Ok(entries.flatten().filter_map(|entry| Some((job(entry.file_name().to_str()?)?, entry.path()))).collect())
}

/// Starts a daemon and opens the disks that the machine's record names. From then on the machine cannot start until it is given back.
///
/// # Errors
/// `conflict` when QEMU holds a disk: the machine runs; `missing` without the program.
pub(crate) async fn start(settings: &Settings, machine: &MachineSource, job: JobId) -> Result<(Qmp, Vec<MachineDisk>)> {
    let socket = socket(settings, job);
    let text = socket.to_str().filter(|path| !path.contains(',')).ok_or_else(|| {
        Error::invalid(format!("no monitor can be made at {}: the path is not UTF-8 or has a comma", socket.display()))
    })?;
    let started = Command::new(PROGRAM)
        .args([
            "--chardev",
            &format!("socket,id=monitor,path={text},server=on,wait=off"),
            "--monitor",
            "chardev=monitor",
            "--daemonize",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .await
        .map_err(|error| Error::from(error).context(format!("the machine is off, and {PROGRAM} cannot be started")))?;
    if !started.status.success() {
        let said = String::from_utf8_lossy(&started.stderr).trim().escape_debug().to_string();
        return Err(Error::unavailable(format!("{PROGRAM} did not start: {said}")));
    }
    let mut qmp = Qmp::connect(&socket).await?;
    let opened = open(&mut qmp, settings, machine).await;
    match opened {
        Ok(disks) => Ok((qmp, disks)),
        Err(error) => {
            stop(qmp).await?;
            Err(error)
        }
    }
}

/// Removes bitmaps, by their names, from the disks of a machine that is off; returns how many had any.
///
/// # Errors
/// As [`start`]; `conflict` as QEMU.
pub(crate) async fn untrack(settings: &Settings, machine: &MachineSource, go: impl Fn(&str) -> bool) -> Result<usize> {
    let job = JobId::new(ulid::Ulid::generate());
    let (mut qmp, _) = start(settings, machine, job).await?;
    let removed = remove_bitmaps(&mut qmp, go).await;
    stop(qmp).await?;
    scratch::remove(&socket(settings, job))?;
    removed
}

/// Ends a daemon.
///
/// # Errors
/// As the connection.
pub(crate) async fn stop(mut qmp: Qmp) -> Result<()> {
    qmp.execute("quit", json!({})).await.map(drop)
}

async fn open(qmp: &mut Qmp, settings: &Settings, machine: &MachineSource) -> Result<Vec<MachineDisk>> {
    let mut sources = Vec::new();
    for (position, disk) in machine.disks.iter().filter(|disk| !settings.exclude.contains(&disk.name)).enumerate() {
        let (format, path) = parse_location(disk)?;
        let node = format!("disk{position}");
        let driver = if path.starts_with("/dev") { "host_device" } else { "file" };
        let options: Value = json!({ "driver": format, "node-name": node, "file": { "driver": driver, "filename": path } });
        qmp.execute("blockdev-add", options).await.map_err(|error| {
            error.context(format!("the machine's monitor does not answer, and disk {} cannot be opened without it", disk.name))
        })?;
        sources.push((node, disk, format, path));
    }
    let nodes: Vec<NodeInfo> = qmp.query("query-named-block-nodes", json!({ "flat": true })).await?;
    let described = |(node, disk, format, path): (String, &DiskSource, &str, &Path)| {
        let info = nodes.iter().find(|info| info.node_name.as_deref() == Some(&*node));
        let info = info.ok_or_else(|| Error::internal(format!("{PROGRAM} does not show disk {}", disk.name)))?;
        Ok(MachineDisk {
            name: disk.name.clone(),
            node,
            device: None,
            size_bytes: info.size_bytes(),
            format: format.to_owned(),
            file: path.to_owned(),
            bitmaps: info.dirty_bitmaps.clone(),
        })
    };
    sources.into_iter().map(described).collect()
}
