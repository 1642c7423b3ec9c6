//! What is promised a time stays until then.

use stillpoint_model::MarkKind;

use super::Known;
use crate::time::MINUTE;

/// Clocks of processes are wrong by ten minutes at most; whoever promised and whoever kept may be wrong in different directions.
pub(super) const CLOCKS_APART_MS: i64 = 21 * MINUTE;

/// I5: retention keeps what is held, what was promised a time, and the newest point.
pub(super) fn pruned_too_early(known: &Known, is_newest: bool, now: i64) -> Option<String> {
    let promised = known.keep_until.filter(|until| until.as_millisecond() > now + CLOCKS_APART_MS);
    match (known.standing(MarkKind::Held, MarkKind::Released), promised, is_newest) {
        (Some(_), _, _) => Some("pruned, and it is held".to_owned()),
        (_, Some(until), _) => Some(format!("pruned, and it was promised until {until}")),
        (_, _, true) => Some("pruned, and it is the newest".to_owned()),
        _ => None,
    }
}

/// I5: a point is freed when it was deleted, its days to take that back are over, and nobody wants it again. Marks are numbered, so
/// what came before the freeing was known to it.
pub(super) fn freed_too_early(known: &Known, with_machine: bool, now: i64) -> Option<String> {
    let is_held = known.standing(MarkKind::Held, MarkKind::Released).is_some();
    let Some(tombstone) = known.standing(MarkKind::Deleted, MarkKind::Undeleted).filter(|_| !is_held) else {
        let why = if is_held { "freed, and it is held" } else { "freed, and it is not deleted" };
        return (is_held || !with_machine).then(|| why.to_owned());
    };
    match tombstone.until {
        Some(until) if until.as_millisecond() <= now + CLOCKS_APART_MS => None,
        until => Some(format!("freed, and it can be undeleted until {until:?}")),
    }
}
