//! What keeps a guest going when scratch space ends, whoever of us still lives: a program of its own, which ends by itself as soon as the
//! snapshot is given back.

use std::{fs, path::Path, process::Stdio};

use stillpoint_model::{Error, Result};
use tokio::process::Command;

use super::{names, space::Watched, virsh::Virsh};

const REASON_BYTES_MAX: usize = 500;
/// Arguments: libvirt's address, the domain, what the job is begun with, its socket, the file for the reason; then folders, each with the bytes
/// to keep free. What it is told is never part of the program. It looks each second, and at once when libvirt tells of an I/O error. It ends
/// nobody else's job: that of ours may have been ended by hand; and writes over no file: others may write to the folder. A guest that goes on
/// before the job is gone stands still again, and one may stop a moment after that, for a write of a moment before: so it waits and looks again.
/// It lets a guest go on no sooner than all its errors have been told of (see [`super::backup`]).
const PROGRAM: &str = r#"trap '' HUP
umask 077; set -C
uri=$1 domain=$2 begun_with=$3 socket=$4 why=$5
shift 5
ask() { virsh -q -c "$uri" "$@" 2>/dev/null; }
is_there() { [ -e "$begun_with" ] || [ -e "$socket" ]; }
is_ours() { case $(ask backup-dumpxml "$domain") in *"${socket##*/}"*) ;; *) return 1 ;; esac; }
stands_still() { case $(ask domstate --reason "$domain") in "paused (I/O error)"*) ;; *) return 1 ;; esac; }
end() {
  for _ in 1 2 3 4; do
    stands_still && sleep 1.5 && stands_still && ask resume "$domain" > /dev/null
    sleep 0.5
  done
  exit 0
}
give_up() {
  is_there && is_ours || return
  [ -e "$why" ] || printf '%s\n' "$1" > "$why"
  ask domjobabort "$domain" > /dev/null || return
  while is_ours; do sleep 0.1; done
  end
}
while is_there; do
  ask event "$domain" --event io-error --timeout 1 > /dev/null || sleep 0.1
  stands_still && give_up "the guest could not write, most likely because scratch space ran out"
  case $(ask domstate "$domain") in "shut off"*) exit 0 ;; esac
  folder=
  for word in "$@"; do
    if [ -z "$folder" ]; then folder=$word; continue; fi
    space=$(stat -f -c '%a * %S' "$folder") || space=$word
    [ "$(($space))" -ge "$word" ] || give_up "scratch space in $folder is nearly used up"
    folder=
  done
done
end"#;

/// Starts it, before the job is begun: whoever is killed while that is under way leaves a guest that is watched over. It belongs to no
/// terminal's foreground and is not waited for.
///
/// # Errors
/// `missing` without a shell.
pub(super) fn start(virsh: &Virsh, domain: &str, socket: &Path, watched: &[Watched]) -> Result<()> {
    let mut program = Command::new("sh");
    let [begun_with, _] = names::descriptions(socket);
    program.args(["-c", PROGRAM, "stillpoint-watch", virsh.uri(), domain]).arg(begun_with).arg(socket).arg(names::reason(socket));
    for Watched { folder, keep_free_bytes } in watched {
        program.arg(folder).arg(keep_free_bytes.to_string());
    }
    program.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let started = program.spawn().map_err(|error| Error::from(error).context("nothing can watch over scratch space: sh"));
    started.map(drop)
}

/// Why it gave the snapshot up, if it did.
pub(super) fn reason(socket: &Path) -> Option<String> {
    let text = fs::read_to_string(names::reason(socket)).ok()?;
    Some(text.trim().chars().take(REASON_BYTES_MAX).flat_map(char::escape_debug).collect())
}
