//! Names of everything that is made in QEMU and beside it. Each carries its job's id: whoever comes after a crash finds it all.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use stillpoint_model::{DiskName, JobId};

/// What a node in QEMU's graph is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Stands between the device and the disk, so that one command can put the filters of all disks in.
    Top,
    /// The copy-before-write filter.
    Filter,
    /// Where it copies to.
    Scratch,
    /// What is read: the disk as it was.
    Past,
}

const PARTS: [(Part, &str); 4] = [(Part::Top, "t"), (Part::Filter, "f"), (Part::Scratch, "s"), (Part::Past, "p")];

/// A node: `sp`, the part, two digits of the disk's position, the job. QEMU takes 31 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) part: Part,
    pub(crate) position: usize,
    pub(crate) job: JobId,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = PARTS.iter().find(|(part, _)| *part == self.part).map_or("", |(_, letter)| letter);
        write!(f, "sp{letter}{:02}{}", self.position, self.job)
    }
}

impl FromStr for Node {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (part, rest) =
            PARTS.iter().find_map(|(part, letter)| Some((*part, text.strip_prefix("sp")?.strip_prefix(letter)?))).ok_or(())?;
        let (position, job) = rest.split_at_checked(2).ok_or(())?;
        Ok(Self { part, position: position.parse().map_err(drop)?, job: job.parse().map_err(drop)? })
    }
}

/// The export of one disk: `sp-`, the job, two digits of the disk's position.
pub(crate) fn export(job: JobId, position: usize) -> String {
    format!("sp-{job}-{position:02}")
}

/// What clients call the export of one disk. A snapshot that the same job takes anew has another instant: a plan of the one before finds nothing.
pub(crate) fn export_name(disk: &DiskName, instant: Timestamp) -> String {
    format!("{disk}-{}", instant.as_nanosecond())
}

/// The job that an export belongs to.
pub(crate) fn job_of_export(id: &str) -> Option<JobId> {
    id.strip_prefix("sp-")?.split_once('-')?.0.parse().ok()
}

/// A bitmap on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bitmap {
    /// What changed since a snapshot, for as long as its point may be a parent. The disk's name and size stand in the name, so that a bitmap
    /// that came to another disk's place, or is of another size, is not found.
    Since { job: JobId, instant: Timestamp, size_bytes: u64, disk: DiskName },
    /// What a backup reads: changes since its parent. Marks the disk for as long as the snapshot is held.
    Held { job: JobId, position: usize },
}

impl fmt::Display for Bitmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Since { job, instant, size_bytes, disk } => {
                write!(f, "stillpoint-since-{job}-{}-{size_bytes}-{disk}", instant.as_nanosecond())
            }
            Self::Held { job, position } => write!(f, "stillpoint-held-{job}-{position:02}"),
        }
    }
}

impl FromStr for Bitmap {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Some(rest) = text.strip_prefix("stillpoint-held-") {
            let (job, position) = rest.split_once('-').ok_or(())?;
            return Ok(Self::Held { job: job.parse().map_err(drop)?, position: position.parse().map_err(drop)? });
        }
        let mut fields = text.strip_prefix("stillpoint-since-").ok_or(())?.splitn(4, '-');
        let mut field = || fields.next().ok_or(());
        let (job, instant, size_bytes, disk) = (field()?, field()?, field()?, field()?);
        Ok(Self::Since {
            job: job.parse().map_err(drop)?,
            instant: Timestamp::from_nanosecond(instant.parse().map_err(drop)?).map_err(drop)?,
            size_bytes: size_bytes.parse().map_err(drop)?,
            disk: disk.parse().map_err(drop)?,
        })
    }
}

/// Whether a bitmap of this name is ours.
pub(crate) fn is_own(bitmap: &str) -> bool {
    bitmap.parse::<Bitmap>().is_ok()
}

/// The file that old blocks of a disk are copied to.
pub(crate) fn scratch_file(job: JobId, position: usize) -> String {
    format!(".stillpoint-{job}-{position:02}.scratch")
}

/// The socket that disks are read through.
pub(crate) fn nbd_socket(job: JobId) -> String {
    format!(".sp-{job}.nbd")
}

/// The monitor of the daemon that reads the disks of a machine that is off.
pub(crate) fn daemon_socket(job: JobId) -> String {
    format!(".sp-{job}.qmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobId {
        "01M82F1K1G1QZHN76V01SPE78D".parse().unwrap()
    }

    #[test]
    fn nodes_fit_and_are_read_back() {
        for (part, _) in PARTS {
            let node = Node { part, position: 63, job: job() };
            assert!(node.to_string().len() <= 31);
            assert_eq!(node.to_string().parse(), Ok(node));
        }
        for other in
            ["", "sp", "spt", "spt01", "spx0001M82F1K1G1QZHN76V01SPE78D", "libvirt-1-format", "sptaa01M82F1K1G1QZHN76V01SPE78D"]
        {
            assert_eq!(other.parse::<Node>(), Err(()), "{other}");
        }
        assert_eq!(job_of_export(&export(job(), 3)), Some(job()));
        assert_eq!(job_of_export("sp-other"), None);
    }

    #[test]
    fn bitmaps_are_read_back() {
        let disk = "data-1.x".parse().unwrap();
        let instant = "2026-01-02T03:04:05.123456789Z".parse().unwrap();
        for bitmap in [Bitmap::Since { job: job(), instant, size_bytes: 512, disk }, Bitmap::Held { job: job(), position: 2 }] {
            assert_eq!(bitmap.to_string().parse(), Ok(bitmap));
        }
        for other in ["", "stillpoint-since-", "stillpoint-since-x-1-2-a", "backup-1"] {
            assert_eq!(other.parse::<Bitmap>(), Err(()), "{other}");
        }
    }
}
