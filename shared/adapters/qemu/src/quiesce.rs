//! Bringing a guest to rest for a moment: scripts, freeze, thaw, scripts. Whatever fails, the guest goes on.

use std::time::Duration;

use serde_json::json;
use stillpoint_model::{Consistency, Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::{
    agent::{Agent, Ended, Place},
    settings::Settings,
    watchdog::{FIND_HOOK, Watchdog},
};

/// Longest that freezing may take with the guest's own hooks; what is slower is thawed and does without. Below
/// [`crate::watchdog::THAWS_AFTER`].
const FREEZE: Duration = Duration::from_secs(7);
/// Longest that thawing may take with the guest's own hooks.
const THAW: Duration = Duration::from_secs(20);
const THAWS_MAX: u32 = 3;

/// A guest at rest, as far as it came.
pub(crate) struct AtRest<'a> {
    settings: &'a Settings,
    wanted: Consistency,
    agent: Option<Agent>,
    frozen: Option<Frozen>,
    /// Applications have made themselves ready.
    prepared: bool,
    /// The script before ran, so that after is run, too.
    scripts_begun: bool,
    warnings: Vec<String>,
}

struct Frozen {
    since: Instant,
    file_systems: i64,
    watchdog: Option<Watchdog>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Rested {
    pub(crate) obtained: Consistency,
    pub(crate) frozen_ms: Option<u64>,
    pub(crate) warnings: Vec<String>,
}

impl<'a> AtRest<'a> {
    /// Brings the guest to rest as far as it is wanted and possible.
    ///
    /// # Errors
    /// When the scripts say that there shall be no backup without them; everything else becomes a warning.
    pub(crate) async fn begin(settings: &'a Settings, wanted: Consistency, runs: bool) -> Result<Self> {
        let (agent, frozen, prepared, scripts_begun) = (None, None, false, false);
        let mut rest = Self { settings, wanted, agent, frozen, prepared, scripts_begun, warnings: Vec::new() };
        if wanted == Consistency::Crash {
            return Ok(rest);
        }
        let agent = match &settings.agent {
            _ if !runs => Err(Error::invalid("the guest does not run")),
            None => Err(Error::invalid("the machine has no setting agent")),
            Some(place) => Agent::connect(place).await,
        };
        match agent {
            Ok(agent) => rest.agent = Some(agent),
            Err(error) => rest.lower("the guest was not brought to rest", &error),
        }
        if let Err(error) = rest.prepare().await {
            rest.end().await;
            return Err(error);
        }
        if rest.settings.scripts.as_ref().is_none_or(|scripts| scripts.fs_freeze_enabled)
            && let Err(error) = rest.freeze().await
        {
            rest.lower("file systems were not frozen", &error);
        }
        Ok(rest)
    }

    fn lower(&mut self, what: &str, error: &Error) {
        self.warnings.push(format!("{what}: {}", error.one_line()));
    }

    async fn prepare(&mut self) -> Result<()> {
        let Some(agent) = &mut self.agent else { return Ok(()) };
        // Left by one who died.
        thaw_if_frozen(agent).await?;
        if self.wanted != Consistency::Application {
            return Ok(());
        }
        let Some(scripts) = &self.settings.scripts else {
            self.prepared = hooks_run(agent).await;
            if !self.prepared {
                self.warnings.push(
                    "applications were not made ready: the guest agent runs no freeze hook, and no scripts are set".to_owned(),
                );
            }
            return Ok(());
        };
        self.scripts_begun = true;
        match scripts.before(agent).await {
            Ok(ran) => self.prepared = ran || hooks_run(agent).await,
            Err(error) if scripts.continue_backup_on_failure => {
                self.lower("applications were not made ready", &error);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn freeze(&mut self) -> Result<()> {
        let Some(agent) = &mut self.agent else { return Ok(()) };
        let since = Instant::now();
        let watchdog = match Watchdog::start(agent).await {
            Ok(watchdog) => Some(watchdog),
            // VSS thaws by itself.
            Err(_) if self.settings.freeze_unwatched || is_windows(agent).await => None,
            Err(error) => return Err(error.context("nothing in the guest would thaw it should this host die")),
        };
        match agent.ask_within("guest-fsfreeze-freeze", json!({}), FREEZE).await {
            Ok(count) if count.as_i64().is_some_and(|count| count > 0) => {
                self.frozen = Some(Frozen { since, file_systems: count.as_i64().unwrap_or(0), watchdog });
                Ok(())
            }
            failed => {
                let error = failed.err().unwrap_or_else(|| Error::conflict("the guest agent froze no file system"));
                // It may have been frozen all the same, or in part.
                self.frozen = Some(Frozen { since, file_systems: i64::MAX, watchdog });
                let thawed = self.thaw().await;
                self.frozen = None;
                thawed.and(Err(error))
            }
        }
    }

    /// Thaws; returns for how long the guest stood still, and whether it did so all the time.
    async fn thaw(&mut self) -> Result<(Duration, bool)> {
        let Some(frozen) = self.frozen.take() else { return Ok((Duration::ZERO, false)) };
        let mut failure = None;
        for _ in 0..THAWS_MAX {
            match thaw(&mut self.agent, self.settings.agent.as_ref()).await {
                Ok(thawed) => {
                    let stood = frozen.since.elapsed();
                    if let (Some(watchdog), Some(agent)) = (frozen.watchdog, &mut self.agent) {
                        watchdog.stop(agent).await;
                    }
                    return Ok((stood, thawed >= frozen.file_systems));
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| Error::unavailable("the guest agent does not answer")))
    }

    /// Lets the guest go on, whatever became of the snapshot, and says what was reached.
    pub(crate) async fn end(&mut self) -> Rested {
        let was_frozen = self.frozen.is_some();
        let mut frozen_ms = None;
        let mut stood = false;
        match self.thaw().await {
            Ok((time, whole)) if was_frozen => {
                frozen_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
                stood = whole;
                if !whole {
                    self.warnings.push("somebody thawed the guest before the snapshot was taken".to_owned());
                }
            }
            Ok(_) => {}
            Err(error) => self
                .lower("the guest could not be thawed and may stand still; it thaws by itself where its watchdog runs", &error),
        }
        if let (Some(scripts), Some(agent), true) = (&self.settings.scripts, &mut self.agent, self.scripts_begun)
            && let Err(error) = scripts.after(agent).await
        {
            self.lower("the script after the snapshot failed", &error);
        }
        let by_scripts_alone = self.settings.scripts.as_ref().is_some_and(|scripts| !scripts.fs_freeze_enabled);
        let obtained = match (stood, self.prepared) {
            (true, true) => Consistency::Application,
            (false, true) if by_scripts_alone => Consistency::Application,
            (true, false) => Consistency::FileSystem,
            _ => Consistency::Crash,
        };
        let warnings = std::mem::take(&mut self.warnings);
        Rested { obtained: obtained.min(self.wanted), frozen_ms, warnings }
    }
}

/// Thaws over the connection there is, or a new one where that broke; returns the number of file systems that were frozen.
async fn thaw(agent: &mut Option<Agent>, place: Option<&Place>) -> Result<i64> {
    let connected = match (agent.take(), place) {
        (Some(connected), _) => connected,
        (None, Some(place)) => Agent::connect(place).await?,
        (None, None) => return Err(Error::invalid("the machine has no setting agent")),
    };
    let connected = agent.insert(connected);
    let thawed = thaw_surely(connected).await;
    if matches!(&thawed, Err(error) if error.kind() == ErrorKind::Unavailable) {
        *agent = None;
    }
    thawed
}

/// Thaws, and asks whether it did so: a watchdog is not ended on an agent's word alone.
async fn thaw_surely(agent: &mut Agent) -> Result<i64> {
    match agent.ask_within("guest-fsfreeze-thaw", json!({}), THAW).await {
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        thawed if is_frozen(agent).await? => Err(thawed
            .err()
            .unwrap_or_else(|| Error::conflict("the guest agent says that it thawed, and that the guest is frozen"))),
        Ok(count) => Ok(count.as_i64().unwrap_or(0)),
        // A hook that fails after the thaw is the guest's affair, as long as it goes on.
        Err(_) => Ok(0),
    }
}

/// An agent that cannot tell has not frozen anything for us.
async fn is_frozen(agent: &mut Agent) -> Result<bool> {
    match agent.ask("guest-fsfreeze-status", json!({})).await {
        Ok(status) => Ok(status == "frozen"),
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        Err(_) => Ok(false),
    }
}

/// Lets a guest go on that somebody froze and left.
///
/// # Errors
/// As the agent.
pub(crate) async fn thaw_if_frozen(agent: &mut Agent) -> Result<()> {
    if is_frozen(agent).await? {
        thaw_surely(agent).await?;
    }
    Ok(())
}

/// Whether freezing makes applications ready by itself: the agent was started with a hook that can be run. Debian's is not.
async fn hooks_run(agent: &mut Agent) -> bool {
    if is_windows(agent).await {
        return true;
    }
    let has_hook = format!("{FIND_HOOK}\ntest -x \"$hook\"");
    matches!(agent.run("/bin/sh", &["-c", &has_hook], Duration::from_secs(5)).await, Ok(Ended { code: 0, .. }))
}

/// Whether the guest is a Windows, which freezes through its volume shadow copy service.
async fn is_windows(agent: &mut Agent) -> bool {
    matches!(agent.ask("guest-get-osinfo", json!({})).await, Ok(info) if info["id"] == "mswindows")
}
