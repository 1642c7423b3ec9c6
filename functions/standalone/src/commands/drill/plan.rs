//! Which drills are to be run.

use std::{
    path::{Path, absolute},
    time::Duration,
};

use jiff::Timestamp;
use stillpoint_jobs::Rotation;
use stillpoint_model::{DrillName, Error, ItemName, Result};
use stillpoint_policy_file::{BootEntry, DrillCheck, DrillEntry, FILE_BYTES_MAX, SCRIPT_TIMEOUT, drills_from_toml};

use super::checks::Script;
use crate::{args::DrillRun, input, session::Session};

/// Machines that are drilled in the same way.
pub struct Drill {
    pub plan: Option<DrillName>,
    pub choice: Choice,
    /// As [`Session::open_from`] takes it.
    pub from: Option<String>,
    pub point: String,
    pub checks: Vec<DrillCheck>,
    pub script: Option<Script>,
    pub boot: Option<BootEntry>,
    pub objective: Option<Duration>,
}

/// Which machines.
pub enum Choice {
    /// These.
    Names(Vec<ItemName>),
    /// Those of a plan whose turn it is.
    Planned(Box<DrillEntry>),
}

/// The drills of a plan's file.
pub fn entries(plan: &Path) -> Result<Vec<DrillEntry>> {
    let text = input::text(plan, FILE_BYTES_MAX)?;
    drills_from_toml(&text).map_err(|error| Error::from(error).context(input::shown(plan)))
}

impl Drill {
    /// What the command line asks for without a plan.
    pub fn of_names(args: &DrillRun) -> Result<Self> {
        let mut checks = DrillCheck::USUAL.to_vec();
        let timeout = args.script_timeout.unwrap_or_else(|| Duration::from_secs(SCRIPT_TIMEOUT.seconds()));
        let script = args.script.as_ref().map(|path| found(path, timeout)).transpose()?;
        checks.extend(script.as_ref().map(|_| DrillCheck::Script));
        let mut names = args.names.clone();
        names.sort();
        names.dedup();
        Ok(Self {
            plan: None,
            choice: Choice::Names(names),
            from: args.from.clone(),
            point: args.point.clone(),
            checks,
            script,
            boot: None,
            objective: args.objective,
        })
    }

    /// One of the plan in this file.
    pub fn of_entry(entry: DrillEntry, plan: &Path) -> Result<Self> {
        let folder = plan.parent().unwrap_or_else(|| Path::new(""));
        let timeout = Duration::from_secs(entry.script_timeout.seconds());
        let script = entry.script.as_ref().map(|path| found(&folder.join(path), timeout)).transpose();
        Ok(Self {
            plan: Some(entry.name.clone()),
            script: script.map_err(|error| error.context(format!("drill {}", entry.name)))?,
            from: Some(entry.from.clone()).filter(|from| from != "primary"),
            point: entry.point.clone(),
            checks: entry.checks.clone(),
            boot: entry.boot.clone(),
            objective: entry.objective.map(|objective| Duration::from_secs(objective.seconds())),
            choice: Choice::Planned(Box::new(entry)),
        })
    }

    /// All machines that it is about.
    ///
    /// # Errors
    /// `missing` where a name is that of no machine, before any is drilled.
    pub async fn all(&self, session: &Session) -> Result<Vec<ItemName>> {
        let entry = match &self.choice {
            Choice::Names(names) => return known(session, names.clone()).await,
            Choice::Planned(entry) => entry,
        };
        if !entry.machines.is_empty() {
            return known(session, entry.machines.clone()).await;
        }
        let numbers = session.vault.item_numbers().await?;
        let has_tags = |tags: &std::collections::BTreeMap<String, String>| {
            entry.tags.iter().all(|(key, value)| tags.get(key) == Some(value))
        };
        let items = session.vault.read_items(numbers).await.into_iter();
        // A record that cannot be read must not hide its machine for good: it is drilled, since it may be meant.
        Ok(items.filter(|(_, item)| item.as_ref().map_or(true, |item| has_tags(&item.tags))).map(|(name, _)| name).collect())
    }
}

/// A machine may have lost its record, and still have points.
async fn known(session: &Session, names: Vec<ItemName>) -> Result<Vec<ItemName>> {
    for name in &names {
        if session.vault.newest_item(name).await?.is_none() && session.vault.point_entries(name).await?.is_empty() {
            return Err(Error::missing(format!("there is no machine {name} in this vault; see `stillpoint machine list`")));
        }
    }
    Ok(names)
}

/// Those that are due on this UTC day: each on one in `one_in`, whichever others there are; and those that `failed` the last time.
pub fn due(all: &[ItemName], one_in: u32, now: Timestamp, failed: impl Fn(&ItemName) -> bool) -> Vec<ItemName> {
    let today = Rotation::on_day(now, one_in);
    all.iter().filter(|name| today.holds(name.as_str()) || failed(name)).cloned().collect()
}

fn found(path: &Path, timeout: Duration) -> Result<Script> {
    let cannot = |error: std::io::Error| Error::from(error).context(format!("cannot use script {}", path.display()));
    let path = absolute(path).map_err(cannot)?;
    match path.metadata().map_err(cannot)?.is_file() {
        true => Ok(Script { path, timeout }),
        false => Err(Error::invalid(format!("script {} is no file", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_comes_up_once_in_the_period() {
        let names: Vec<ItemName> = (0..40).map(|number| format!("web-{number}").parse().unwrap()).collect();
        let mut seen = Vec::new();
        for day in 0..7 {
            let now = Timestamp::from_second(1_790_000_000 + day * 86_400).unwrap();
            let today = due(&names, 7, now, |_| false);
            assert!(today.len() < names.len(), "not all on one day");
            seen.extend(today);
        }
        seen.sort();
        let mut all = names.clone();
        all.sort();
        assert_eq!(seen, all);
        assert_eq!(due(&names, 1, Timestamp::UNIX_EPOCH, |_| false), names);
        assert_eq!(due(&names, 366, Timestamp::UNIX_EPOCH, |_| true), names, "what failed comes up again");
    }
}
