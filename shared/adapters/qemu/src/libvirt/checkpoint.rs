//! Which checkpoint tells what changed since a snapshot, and why none does.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::{Deserialize, Serialize};
use stillpoint_model::{DiskName, Error, ErrorKind, JobId, Result};
use stillpoint_ports::{Ending, Since};

use super::{
    backup::escaped,
    domain::{Domain, DomainDisk, child, parse, text_of},
    names::Checkpoint,
    virsh::Virsh,
};

/// A disk as it was when a checkpoint was begun; kept in the checkpoint's description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Then {
    size_bytes: u64,
    image: String,
}

/// What libvirt is told to begin with a snapshot; none where no disk can keep a bitmap.
///
/// # Errors
/// `internal`.
pub(super) fn description(checkpoint: Checkpoint, disks: &[DomainDisk]) -> Result<Option<String>> {
    let kept: BTreeMap<&DiskName, Then> = disks
        .iter()
        .filter(|disk| disk.keeps_bitmaps())
        .map(|disk| (&disk.name, Then { size_bytes: disk.size_bytes, image: disk.image() }))
        .collect();
    if kept.is_empty() {
        return Ok(None);
    }
    let then =
        serde_json::to_string(&kept).map_err(|error| Error::internal("a checkpoint cannot be described").with_source(error))?;
    let mut text = format!("<domaincheckpoint><name>{checkpoint}</name><description>{}</description><disks>", escaped(&then));
    for disk in disks {
        let kind = if disk.keeps_bitmaps() { "bitmap" } else { "no" };
        write!(text, "<disk name='{}' checkpoint='{kind}'/>", disk.name).map_err(|_| Error::internal("out of memory"))?;
    }
    text.push_str("</disks></domaincheckpoint>");
    Ok(Some(text))
}

/// For each disk whether the checkpoint of `since` has recorded its every change from then on; if not, why not, in one line.
///
/// # Errors
/// As libvirt.
pub(super) async fn since(virsh: &Virsh, domain: &str, disks: &[DomainDisk], since: Since) -> Result<Vec<Result<(), String>>> {
    let name = Checkpoint(since).to_string();
    if !all(virsh, domain).await?.contains(&Checkpoint(since)) {
        let reason = "the domain has no checkpoint of the last point: it was deleted, or the domain was off or defined anew then";
        return Ok(disks.iter().map(|disk| Err(raw(disk).unwrap_or_else(|| reason.to_owned()))).collect());
    }
    let text = virsh.run(&["checkpoint-dumpxml", "--no-domain", "--size", domain, &name]).await?;
    judged(&text, disks)
}

fn judged(text: &str, disks: &[DomainDisk]) -> Result<Vec<Result<(), String>>> {
    let document = parse(text)?;
    let root = document.root_element();
    let then: BTreeMap<String, Then> =
        text_of(root, "description").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let recorded = |disk: &DomainDisk| {
        let mut nodes = child(root, "disks").into_iter().flat_map(|disks| disks.children());
        nodes.find(|node| node.attribute("name") == Some(disk.name.as_str())).and_then(|node| node.attribute("size"))
    };
    let judge = |disk: &DomainDisk| match then.get(disk.name.as_str()) {
        _ if !disk.keeps_bitmaps() => Err(raw(disk).unwrap_or_default()),
        None => Err("the disk was not there at the last point".to_owned()),
        Some(then) if then.size_bytes != disk.size_bytes => {
            Err(format!("the disk was resized from {} to {} bytes", then.size_bytes, disk.size_bytes))
        }
        Some(then) if then.image != disk.image() => Err("another image lies here than at the last point".to_owned()),
        // libvirt tells how much a bitmap holds only where all of it is there and sound.
        Some(_) if recorded(disk).is_none() => Err("its bitmap was not saved: QEMU crashed or was killed".to_owned()),
        Some(_) => Ok(()),
    };
    Ok(disks.iter().map(judge).collect())
}

fn raw(disk: &DomainDisk) -> Option<String> {
    let raw = !disk.keeps_bitmaps();
    raw.then(|| format!("the disk has no bitmap of the last point: libvirt keeps none on one of format {}", disk.format))
}

/// Our checkpoints of a domain.
async fn all(virsh: &Virsh, domain: &str) -> Result<Vec<Checkpoint>> {
    let names = virsh.run(&["checkpoint-list", "--name", domain]).await?;
    Ok(names.lines().filter_map(|name| name.trim().parse().ok()).collect())
}

/// Deletes those that are of no use any more when the snapshot of `job` is given back. The domain is on; libvirt deletes none of one that is
/// off.
///
/// # Errors
/// As libvirt.
pub(super) async fn delete(virsh: &Virsh, domain: &str, job: JobId, ending: Ending) -> Result<()> {
    let over = |checkpoint: &Checkpoint| match ending {
        Ending::Abandoned => checkpoint.0.job == job,
        Ending::Committed => checkpoint.0.job != job,
    };
    for checkpoint in all(virsh, domain).await?.into_iter().filter(over) {
        delete_one(virsh, domain, checkpoint).await?;
    }
    Ok(())
}

/// Deletes all of ours of a domain that is on; returns how many disks they were of.
///
/// # Errors
/// As libvirt.
pub(super) async fn delete_all(virsh: &Virsh, domain: &Domain) -> Result<usize> {
    let all = all(virsh, &domain.uuid).await?;
    for checkpoint in &all {
        delete_one(virsh, &domain.uuid, *checkpoint).await?;
    }
    let kept = domain.disks.iter().filter(|disk| disk.keeps_bitmaps()).count();
    Ok(if all.is_empty() { 0 } else { kept })
}

/// Has libvirt forget all of ours, whose bitmaps are gone.
///
/// # Errors
/// As libvirt.
pub(super) async fn forget_all(virsh: &Virsh, domain: &str) -> Result<()> {
    for checkpoint in all(virsh, domain).await? {
        forget(virsh, domain, checkpoint).await?;
    }
    Ok(())
}

async fn delete_one(virsh: &Virsh, domain: &str, checkpoint: Checkpoint) -> Result<()> {
    match virsh.run(&["checkpoint-delete", domain, &checkpoint.to_string()]).await {
        // The bitmap was never saved: only libvirt's own record is left.
        Err(error) if error.kind() == ErrorKind::Conflict => {
            tracing::debug!(error = %error.one_line(), "a checkpoint is deleted without its bitmaps");
            forget(virsh, domain, checkpoint).await
        }
        deleted => deleted.map(drop),
    }
}

async fn forget(virsh: &Virsh, domain: &str, checkpoint: Checkpoint) -> Result<()> {
    virsh.run(&["checkpoint-delete", "--metadata", domain, &checkpoint.to_string()]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, format: &str, size_bytes: u64) -> DomainDisk {
        DomainDisk { name: name.parse().unwrap(), format: format.to_owned(), file: format!("/nowhere/{name}").into(), size_bytes }
    }

    #[test]
    fn only_an_unbroken_bitmap_of_the_same_disk_is_believed() {
        let job = "01M82F1K1G1QZHN76V01SPE78D".parse().unwrap();
        let checkpoint = Checkpoint(Since { job, instant: "2026-01-02T03:04:05Z".parse().unwrap() });
        let then = [disk("vda", "qcow2", 1024), disk("vdb", "qcow2", 1024), disk("vdc", "raw", 512), disk("vdd", "qcow2", 512)];
        // As libvirt gives it back, the sizes of what it found.
        let text = description(checkpoint, &then).unwrap().unwrap();
        let text = text.replace("<disk name='vda' checkpoint='bitmap'", "<disk name='vda' checkpoint='bitmap' size='0'");
        let text = text.replace("<disk name='vdb' checkpoint='bitmap'", "<disk name='vdb' checkpoint='bitmap' size='65536'");
        let mut moved = disk("vda", "qcow2", 1024);
        moved.file = "/elsewhere".into();
        let judge = |now: DomainDisk| judged(&text, &[now]).unwrap().remove(0);
        assert_eq!(judge(disk("vda", "qcow2", 1024)), Ok(()));
        assert_eq!(judge(disk("vdb", "qcow2", 1024)), Ok(()));
        let refused = [
            (disk("vda", "qcow2", 2048), "resized from 1024 to 2048"),
            (moved, "another image"),
            (disk("vdd", "qcow2", 512), "QEMU crashed"),
            (disk("vdc", "raw", 512), "format raw"),
            (disk("vde", "qcow2", 512), "not there"),
        ];
        for (now, reason) in refused {
            let found = judge(now).unwrap_err();
            assert!(found.contains(reason), "{found}");
        }
        assert_eq!(description(checkpoint, &[disk("vda", "raw", 512)]).unwrap(), None);
    }
}
