//! `drill list`: the drills of a plan, when they are due, and how they did.

use std::{path::Path, process::ExitCode};

use jiff::Timestamp;
use serde_json::{Value, json};
use stillpoint_model::{
    Result,
    policy::{Share, Timetable},
};
use stillpoint_policy_file::DrillEntry;

use super::{notes::Notes, plan};
use crate::{args::Global, output, session::system};

/// A drill, as it is shown.
struct Shown {
    entry: DrillEntry,
    notes: Option<Notes>,
    /// When it is due next: now, where it is late.
    next: Option<Timestamp>,
}

pub fn list(global: &Global, plan: &Path, reports: &Path) -> Result<ExitCode> {
    let now = system().0.now();
    let all: Vec<Shown> = plan::entries(plan)?.into_iter().map(|entry| Shown::of(entry, reports, now)).collect::<Result<_>>()?;
    if global.json {
        output::json(&json!({ "drills": all.iter().map(Shown::document).collect::<Vec<_>>() }))?;
    } else {
        let rows = all.iter().map(Shown::row).collect();
        output::table(&["DRILL", "NEXT", "LAST", "RESULT", "WHY"], rows);
    }
    Ok(ExitCode::SUCCESS)
}

impl Shown {
    fn of(entry: DrillEntry, reports: &Path, now: Timestamp) -> Result<Self> {
        let notes = Notes::read(reports, &entry.name)?;
        let timetable = Timetable::of(entry.schedules.clone())?;
        let is_late = notes.as_ref().is_some_and(|notes| notes.schedule == entry.schedules && timetable.owes(notes.since, now));
        let next = if is_late { Some(now) } else { timetable.next_runs(Share::FIRST, now).next().map(|slot| slot.due) };
        Ok(Self { entry, notes, next })
    }

    /// How it did: none that was never done.
    fn result(&self) -> Option<&'static str> {
        let notes = self.notes.as_ref()?;
        notes.began?;
        Some(match notes.ended {
            None => "under way, or killed",
            Some(_) => notes.verdict().as_str(),
        })
    }

    fn why(&self) -> Option<String> {
        self.notes.as_ref().and_then(Notes::shown)
    }

    fn row(&self) -> Vec<String> {
        let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}"));
        vec![
            self.entry.name.to_string(),
            time(self.next),
            time(self.notes.as_ref().and_then(|notes| notes.began)),
            self.result().unwrap_or("-").to_owned(),
            self.why().unwrap_or_default(),
        ]
    }

    fn document(&self) -> Value {
        let notes = self.notes.as_ref();
        json!({
            "name": self.entry.name,
            "schedule": self.entry.schedules,
            "next": self.next,
            "began": notes.and_then(|notes| notes.began),
            "ended": notes.and_then(|notes| notes.ended),
            "verdict": notes.filter(|notes| notes.ended.is_some()).map(Notes::verdict),
            "why": self.why(),
            "machines": notes.map(|notes| &notes.machines),
        })
    }
}
