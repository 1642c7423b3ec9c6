//! Names of what is made in libvirt and beside a domain. Each carries its job's id, as on platform `qemu`.

use std::{fmt, path::Path, path::PathBuf, str::FromStr};

use jiff::Timestamp;
use stillpoint_model::JobId;
use stillpoint_ports::Since;

/// A checkpoint of ours: begun with the snapshot of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint(pub(super) Since);

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stillpoint-since-{}-{}", self.0.job, self.0.instant.as_nanosecond())
    }
}

impl FromStr for Checkpoint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (job, instant) = text.strip_prefix("stillpoint-since-").and_then(|rest| rest.split_once('-')).ok_or(())?;
        let instant = Timestamp::from_nanosecond(instant.parse().map_err(drop)?).map_err(drop)?;
        Ok(Self(Since { job: job.parse().map_err(drop)?, instant }))
    }
}

/// A job's socket in a folder that other domains' jobs use, too; other files of the job have its path and more.
pub(super) fn socket(folder: &Path, job: JobId, domain: &str) -> PathBuf {
    folder.join(format!(".sp-{job}-{}.nbd", short(domain)))
}

/// The job that a socket of this domain belongs to.
pub(super) fn job_of(socket: &Path, domain: &str) -> Option<JobId> {
    let (job, of) = socket.file_name()?.to_str()?.strip_prefix(".sp-")?.strip_suffix(".nbd")?.split_once('-')?;
    (of == short(domain)).then(|| job.parse().ok())?
}

/// What the watch says before it gives a job up.
pub(super) fn reason(socket: &Path) -> PathBuf {
    socket.with_extension("why")
}

/// What libvirt is told to begin.
pub(super) fn descriptions(socket: &Path) -> [PathBuf; 2] {
    ["backup", "checkpoint"].map(|kind| socket.with_extension(kind))
}

/// Enough of a UUID to tell the domains of one host apart.
fn short(domain: &str) -> &str {
    domain.split('-').next().unwrap_or(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "c414c781-d010-44b9-86d1-5766d0a2f7dc";

    #[test]
    fn names_are_read_back_and_others_are_not() {
        let job = "01M82F1K1G1QZHN76V01SPE78D".parse().unwrap();
        let checkpoint = Checkpoint(Since { job, instant: "2026-01-02T03:04:05.123456789Z".parse().unwrap() });
        assert_eq!(checkpoint.to_string().parse(), Ok(checkpoint));
        for other in ["", "c2", "stillpoint-since-", "stillpoint-since-01M82F1K1G1QZHN76V01SPE78D", "stillpoint-since-x-1"] {
            assert_eq!(other.parse::<Checkpoint>(), Err(()), "{other}");
        }
        let path = socket(Path::new("/var/tmp"), job, DOMAIN);
        assert_eq!(path, Path::new("/var/tmp/.sp-01M82F1K1G1QZHN76V01SPE78D-c414c781.nbd"));
        assert_eq!(job_of(&path, DOMAIN), Some(job));
        assert_eq!(job_of(&path, "d414c781-d010-44b9-86d1-5766d0a2f7dc"), None);
        assert_eq!(job_of(&reason(&path), DOMAIN), None);
    }
}
