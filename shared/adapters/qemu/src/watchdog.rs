//! What thaws a guest when nobody at the host can: a program inside it, started before it is frozen.

use std::time::Duration;

use stillpoint_model::Result;

use crate::agent::Agent;

/// The guest is thawed by itself this long after the freeze began.
pub(crate) const THAWS_AFTER: Duration = Duration::from_secs(9);

/// Shell: sets `hook` to the program that the agent, which is the shell's parent, runs around a freeze; to nothing where there is none.
pub(crate) const FIND_HOOK: &str = r#"hook=$(tr '\0' '\n' < /proc/$PPID/cmdline | sed -n \
  -e 's:^-F$:-F/etc/qemu/fsfreeze-hook:' -e 's:^--fsfreeze-hook$:-F/etc/qemu/fsfreeze-hook:' \
  -e 's/^-F//p' -e 's/^--fsfreeze-hook=//p' | head -n 1)"#;

/// Until it thaws it reads nothing from disk that is not there already when it begins, and writes nothing: a frozen file system would stop
/// it. Hooks may keep the freeze itself waiting until after the first try, so that it goes on for a minute. Applications are told, too: the agent
/// would, and nobody asks it.
const PROGRAM: &str = r#"
sleep "$0"
tries=0 thawed=
while [ "$tries" -lt 60 ] && [ -z "$thawed" ]; do
  [ "$tries" -eq 0 ] || sleep 1
  tries=$((tries + 1))
  while read -r device place type rest; do
    case $type in
      ext2|ext3|ext4|xfs|btrfs|f2fs|jfs|nilfs2|reiserfs|gfs2|ocfs2|vfat)
        fsfreeze --unfreeze "$(printf '%b' "$place")" && thawed=yes ;;
    esac
  done < /proc/mounts
done
if [ -n "$thawed" ] && [ -x "$hook" ]; then "$hook" thaw; fi"#;

/// A watchdog in the guest.
pub(crate) struct Watchdog(i64);

impl Watchdog {
    /// Starts it.
    ///
    /// # Errors
    /// `invalid` where the agent does not run programs.
    pub(crate) async fn start(agent: &mut Agent) -> Result<Self> {
        let seconds = THAWS_AFTER.as_secs().to_string();
        let program = format!("PATH=/usr/sbin:/sbin:/usr/bin:/bin; export PATH\n{FIND_HOOK}{PROGRAM}");
        agent.spawn("/bin/sh", &["-c", &program, &seconds], false).await.map(Self)
    }

    /// Ends it, so that it does not thaw what another backup freezes.
    pub(crate) async fn stop(self, agent: &mut Agent) {
        agent.kill(self.0).await;
    }
}
