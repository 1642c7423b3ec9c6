//! Where drills restore to and where their reports go, and what dead ones have left there.

use std::path::{Path, PathBuf, absolute};

use stillpoint_jobs::{Carrier, Operation};
use stillpoint_model::{Error, JobState, Result};
use stillpoint_runtime::{JobLock, host_name};

use super::{checks::boot::end_dead, place::Place};
use crate::{folders::Folders, output, session::Session};

/// The folders of drills.
pub struct Ground {
    pub into: PathBuf,
    pub reports: PathBuf,
    /// Goes again when it is empty.
    _made: Folders,
}

impl Ground {
    /// Makes both folders; without `into` disks go where temporary files do.
    pub fn new(into: Option<&Path>, reports: &Path) -> Result<Self> {
        let reports = folder(reports)?;
        let into = absolute(into.map_or_else(temporary, Path::to_path_buf))?;
        let made = Folders::missing(&into);
        Ok(Self { into: folder(&into)?, reports, _made: made })
    }

    /// Removes what drills have left whose process was killed, and gives their restores up.
    pub async fn clear(&self, sessions: impl Iterator<Item = &Session>) -> Result<()> {
        let dead = Place::dead(&self.into)?;
        if dead.is_empty() {
            return Ok(());
        }
        for session in sessions {
            give_up(session, &dead).await?;
        }
        for place in dead {
            // A machine that cannot be ended keeps its disks.
            if let Err(error) = end_dead(place.folder()).and_then(|()| place.remove()) {
                output::complain(&format!("warning: {}", error.one_line()));
            }
        }
        Ok(())
    }
}

/// Where restored disks go that nobody wants to keep: not into memory, as `/tmp` may be.
fn temporary() -> PathBuf {
    let set = std::env::var_os("TMPDIR").filter(|value| !value.is_empty());
    set.map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

/// A folder that is made where it is not there.
pub fn folder(path: &Path) -> Result<PathBuf> {
    let cannot = |error: std::io::Error| Error::from(error).context(format!("cannot make folder {}", path.display()));
    std::fs::create_dir_all(path).and_then(|()| absolute(path)).map_err(cannot)
}

/// Else the next command would take these restores on.
async fn give_up(session: &Session, dead: &[Place]) -> Result<()> {
    for id in session.engine.unfinished().await? {
        let Ok(job) = session.engine.job(id).await else { continue };
        let is_ours = job.request.carrier == Carrier::Process && job.request.host == host_name();
        let Operation::Restore { disks, .. } = &job.request.what else { continue };
        let is_dead = |location: &str| dead.iter().any(|place| Path::new(location).starts_with(place.folder()));
        if is_ours
            && disks.iter().any(|disk| is_dead(&disk.location))
            && let Some(lock) = JobLock::try_acquire(id)?
            // One that is being sealed has written all that it will.
            && let Ok(event) = session.engine.stop(id, JobState::Cancelled, "its drill was ended").await
        {
            session.settle(vec![event], vec![lock]).await?;
        }
    }
    Ok(())
}
