//! One recovery point: held and released, deleted softly and undeleted.

use std::process::ExitCode;

use jiff::{Span, Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};
use stillpoint_fleet::Kept;
use stillpoint_model::{
    Error, ErrorKind, Immutability, MarkKind, Result,
    policy::{Act, Rule},
};
use stillpoint_vault::{Mark, PointEntry};

use super::{
    ended_with,
    kept::{self, Outlook},
};
use crate::{
    args::{Marked, Point as Command},
    output,
    session::Session,
};

/// Times a point is looked at anew because somebody marked it at the same moment.
const LOOKS: u32 = 5;

/// A point as it stands.
struct Found {
    outlook: Outlook,
    entry: PointEntry,
}

impl Found {
    async fn look(session: &Session, Marked { name, id, .. }: &Marked) -> Result<Self> {
        let outlook = Outlook::of(session, name).await?;
        let entry = session.vault.point_entry(name, *id).await?;
        match (entry.committed, entry.freed()) {
            (true, false) => Ok(Self { outlook, entry }),
            (true, true) => Err(Error::missing(format!("point {id} of {name} was freed: nothing brings it back"))),
            (false, _) => {
                Err(Error::missing(format!("machine {name} has no recovery point {id}; see `stillpoint points {name} --all`")))
            }
        }
    }

    /// What becomes of the point, if it can be read.
    fn kept(&self) -> Option<&Kept> {
        self.outlook.point(self.entry.id)
    }
}

pub async fn run(session: &Session, command: Command) -> Result<ExitCode> {
    let (mark, marked) = match command {
        Command::Hold(marked) => (MarkKind::Held, marked),
        Command::Release(marked) => (MarkKind::Released, marked),
        Command::Delete(marked) => (MarkKind::Deleted, marked),
        Command::Undelete(marked) => (MarkKind::Undeleted, marked),
    };
    let changed = change(session, mark, &marked).await?;
    if matches!(mark, MarkKind::Held | MarkKind::Undeleted) {
        kept::unless_condemned(&session.vault, &marked.name, &[marked.id]).await?;
    }
    report(session, mark, &marked, changed).await
}

/// Writes the mark, unless it stands already.
async fn change(session: &Session, mark: MarkKind, marked: &Marked) -> Result<bool> {
    let vault = &session.vault;
    for _ in 0..LOOKS {
        let found = Found::look(session, marked).await?;
        let is_needed = match mark {
            MarkKind::Held => found.entry.held().is_none(),
            MarkKind::Released => found.entry.held().is_some(),
            MarkKind::Deleted => may_be_deleted(&found, marked)?,
            _ => may_be_undeleted(&found, marked)?,
        };
        if !is_needed {
            return Ok(false);
        }
        let now = vault.clock().now();
        let until = (mark == MarkKind::Deleted).then(|| days_later(now, found.outlook.fleet.settings.undelete_days));
        let body = Mark { until, ..Mark::new(mark, now, "operator", &marked.why) };
        match vault.mark(&marked.name, &found.entry, &body).await {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::unavailable(format!("others keep marking point {}; try again", marked.id)))
}

/// So many days later.
pub fn days_later(now: Timestamp, days: u32) -> Timestamp {
    let span = Span::new().try_days(i64::from(days)).unwrap_or_default();
    now.to_zoned(TimeZone::UTC).checked_add(span).map_or(Timestamp::MAX, |later| later.timestamp())
}

/// Whether there is a point left to be deleted.
fn may_be_deleted(found: &Found, Marked { name, id, .. }: &Marked) -> Result<bool> {
    let refused = |why: String| Err(Error::denied(format!("point {id} of {name} is not deleted: {why}")));
    let Some(kept) = found.kept() else {
        return refused("it cannot be read, and what cannot be read is left alone".to_owned());
    };
    if kept::deleted_until(kept).is_some() {
        return Ok(false);
    }
    if found.entry.held().is_some() {
        return refused(format!("it is held; `stillpoint point release {name} {id}` takes the hold back"));
    }
    if kept.verdict.reasons.iter().any(|reason| reason.rule == Rule::NewestGood) {
        return refused(format!(
            "it is the machine's newest good point; `stillpoint machine stop {name} --delete` deletes the machine with all its points"
        ));
    }
    let immutability = found.outlook.fleet.settings.immutability;
    if immutability == Immutability::Off || kept.verdict.act == Act::Prune {
        return Ok(true);
    }
    let until = match (found.outlook.clock.doubt(), kept.verdict.keep_until) {
        (Some(doubt), Some(until)) if until <= found.outlook.clock.now() => doubt.to_string(),
        (_, Some(until)) => format!("its time is up on {until:.0}"),
        (_, None) => "its time has no end yet".to_owned(),
    };
    refused(format!("the vault is immutable ({immutability}), and {until}"))
}

/// Whether there is a deletion to be taken back.
fn may_be_undeleted(found: &Found, Marked { name, .. }: &Marked) -> Result<bool> {
    let with_machine = found.entry.deleted().is_none() && found.kept().and_then(kept::deleted_until).is_some();
    if with_machine {
        return Err(Error::invalid(format!(
            "the whole machine {name} is deleted; `stillpoint machine undelete {name}` brings back its points"
        )));
    }
    Ok(found.entry.deleted().is_some())
}

/// Says how the point stands now.
async fn report(session: &Session, mark: MarkKind, marked: &Marked, changed: bool) -> Result<ExitCode> {
    let Marked { name, id, .. } = marked;
    let found = Found::look(session, marked).await?;
    let kept = found.kept();
    let mut warnings = Vec::new();
    if kept.is_some_and(|kept| kept.verdict.act == Act::Prune) {
        warnings.push(format!(
            "nothing keeps point {id} any more, and the next prune deletes it; to keep it, `stillpoint point hold {name} {id}`"
        ));
    }
    if mark == MarkKind::Held && found.entry.deleted().is_some() {
        warnings.push(format!(
            "point {id} is deleted: it is not freed as long as it is held; `stillpoint point undelete {name} {id}` brings it back"
        ));
    }
    if session.global.json {
        let facts = json!({ "machine": name, "point": id, "mark": mark, "changed": changed, "warnings": warnings });
        let mut fields = facts.as_object().cloned().unwrap_or_default();
        let lasting = kept.map(kept::lasting).unwrap_or_default();
        fields.extend(lasting.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>());
        output::json(&Value::Object(fields))?;
    } else {
        let already = if changed { "" } else { " already" };
        let until = match kept {
            Some(kept) if mark == MarkKind::Deleted => {
                format!(", and can be undeleted until {}", kept::day(kept::deleted_until(kept)))
            }
            Some(kept) => format!("; kept until: {} ({})", kept::day(kept.verdict.keep_until), kept.verdict.why()),
            None => String::new(),
        };
        output::line(&format!("point {id} of {name} is {mark}{already}{until}"));
    }
    Ok(ended_with(session, &warnings))
}
