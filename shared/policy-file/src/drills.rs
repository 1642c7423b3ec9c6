use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use stillpoint_model::{
    DrillName, ItemName,
    policy::{Interval, Schedule, Timetable, check_tag},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer},
};

use crate::{
    FILE_BYTES_MAX, FileError,
    boot::{BootEntry, BootTable},
    place::{self, Fields, Named},
    read::{bounded, list_schedules, refused, unreadable},
};

/// Most machines that a rotation takes one of.
const ONE_IN_MAX: u32 = 366;

/// What is looked at in restored disks. They are done in this order: the script, which may write to the disks, comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrillCheck {
    /// Every chunk is what the point's map says.
    Manifest,
    /// Partition tables can be read, and what the partitions hold is known.
    Partitions,
    /// The system's own checkers find no fault in the file systems.
    Fsck,
    /// The machine boots, apart from everything, from copies.
    Boot,
    /// The operator's script ends with 0.
    Script,
}

impl DrillCheck {
    /// Those that are done where nothing else is said.
    pub const USUAL: [Self; 3] = [Self::Manifest, Self::Partitions, Self::Fsck];

    /// Its name in plans and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Partitions => "partitions",
            Self::Fsck => "fsck",
            Self::Boot => "boot",
            Self::Script => "script",
        }
    }
}

/// One drill of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillEntry {
    /// Its name.
    pub name: DrillName,
    /// The machines, by name; none where tags choose them.
    pub machines: Vec<ItemName>,
    /// Or all machines that have these tags.
    pub tags: BTreeMap<String, String>,
    /// Of those, each one comes up once in so many days.
    pub one_in: u32,
    /// Which vault: `primary`, the one that the command is about; `paired`; or a URL.
    pub from: String,
    /// Which point, as `restore` takes it.
    pub point: String,
    /// What is looked at, each once, in order.
    pub checks: Vec<DrillCheck>,
    /// The script, relative to the plan's folder.
    pub script: Option<PathBuf>,
    /// How long the script may take.
    pub script_timeout: Interval,
    /// How it is booted.
    pub boot: Option<BootEntry>,
    /// How long a restore may take.
    pub objective: Option<Interval>,
    /// When it is due by itself, as a policy's backups are; none where only commands start it.
    pub schedules: Vec<Schedule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    drill: Vec<Spanned<Table>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: DrillName,
    #[serde(default)]
    machines: Vec<ItemName>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default = "every_one")]
    one_in: u32,
    #[serde(default = "primary")]
    from: String,
    #[serde(default = "latest")]
    point: String,
    checks: Option<Vec<DrillCheck>>,
    script: Option<PathBuf>,
    script_timeout: Option<Interval>,
    boot: Option<BootTable>,
    objective: Option<Interval>,
    #[serde(default, rename = "schedule")]
    schedules: Vec<Schedule>,
}

const fn every_one() -> u32 {
    1
}

fn primary() -> String {
    "primary".to_owned()
}

fn latest() -> String {
    "latest".to_owned()
}

/// How long a script may take where nothing else is said.
pub const SCRIPT_TIMEOUT: Interval = Interval::from_minutes(10);

/// The drills of a plan, each under `[[drill]]`; no name comes twice.
///
/// # Errors
/// The first fault, with its line, the drill, its field and the reason.
pub fn drills_from_toml(text: &str) -> Result<Vec<DrillEntry>, FileError> {
    bounded(text, FILE_BYTES_MAX, "plan of drills")?;
    let mut document = DeTable::parse(text).map_err(|error| unreadable(text, &error))?;
    let fields = Fields::of(document.get_ref());
    let named = Named::of::<DrillName>(document.get_ref(), "drill");
    each_drill(document.get_mut(), list_schedules);
    let file = File::deserialize(Deserializer::from(document)).map_err(|error| {
        let error = refused(text, &fields, &error);
        FileError { field: named.shown(&error.field), ..error }
    })?;
    let mut lines = BTreeMap::new();
    let mut entries = Vec::with_capacity(file.drill.len());
    for (number, table) in file.drill.into_iter().enumerate() {
        let line = place::line(text, table.span().start);
        let fault = |(field, reason): (String, String)| {
            let path = fields.spelled(&format!("drill[{number}]."), &field);
            let line = fields.start(&path).map_or(line, |start| place::line(text, start));
            FileError { line, field: named.shown(&path), reason }
        };
        let table = table.into_inner();
        check(&table).map_err(|(field, reason)| fault((field.to_owned(), reason)))?;
        check_schedules(&table).map_err(fault)?;
        if let Some(first) = lines.insert(table.name.clone(), line) {
            return Err(fault(("name".to_owned(), format!("the drill is in line {first} already"))));
        }
        entries.push(table.into());
    }
    Ok(entries)
}

/// Changes the table of each drill.
fn each_drill(document: &mut DeTable<'_>, change: fn(&mut DeTable<'_>)) {
    let Some(DeValue::Array(drills)) = document.get_mut("drill").map(Spanned::get_mut) else { return };
    for drill in drills.iter_mut() {
        if let DeValue::Table(table) = drill.get_mut() {
            change(table);
        }
    }
}

impl From<Table> for DrillEntry {
    fn from(table: Table) -> Self {
        let Table { name, machines, tags, one_in, from, point, checks, script, script_timeout, boot, objective, schedules } =
            table;
        let named = [boot.as_ref().map(|_| DrillCheck::Boot), script.as_ref().map(|_| DrillCheck::Script)];
        let mut checks = checks.unwrap_or_else(|| DrillCheck::USUAL.into_iter().chain(named.into_iter().flatten()).collect());
        checks.sort_unstable();
        let script_timeout = script_timeout.unwrap_or(SCRIPT_TIMEOUT);
        // It was looked at before.
        let boot = boot.and_then(|boot| boot.entry().ok());
        Self { name, machines, tags, one_in, from, point, checks, script, script_timeout, boot, objective, schedules }
    }
}

fn check(table: &Table) -> Result<(), (&'static str, String)> {
    let fault = |field, reason: &str| Err((field, reason.to_owned()));
    match (table.machines.is_empty(), table.tags.is_empty()) {
        (true, true) => return fault("machines", "name machines, or the tags of some"),
        (false, false) => return fault("tags", "machines are chosen by name or by tags, not both"),
        _ => {}
    }
    for (key, value) in &table.tags {
        check_tag(key, value).map_err(|reason| ("tags", format!("'{}': {reason}", key.escape_debug())))?;
    }
    if !(1..=ONE_IN_MAX).contains(&table.one_in) {
        return Err(("one_in", format!("one in 1 to {ONE_IN_MAX}, not {}", table.one_in)));
    }
    if table.from != "primary" && table.from != "paired" && !table.from.contains("://") {
        return fault("from", "give primary, paired or the URL of a vault");
    }
    let has_script = match &table.checks {
        Some(checks) if checks.is_empty() => return fault("checks", "a drill checks something"),
        Some(checks) if (1..checks.len()).any(|at| checks[..at].contains(&checks[at])) => {
            return fault("checks", "a check comes twice");
        }
        Some(checks) => checks.contains(&DrillCheck::Script),
        None => table.script.is_some(),
    };
    check_boot(table)?;
    match &table.script {
        None if has_script => fault("checks", "the check 'script' needs the field script, a path"),
        None if table.script_timeout.is_some() => fault("script_timeout", "there is no script"),
        Some(_) if !has_script => fault("script", "'script' is not among the checks"),
        Some(path) if path.as_os_str().is_empty() => fault("script", "the path is empty"),
        _ if table.script_timeout.is_some_and(|timeout| timeout.seconds() == 0) => fault("script_timeout", "it is nothing"),
        _ if table.objective.is_some_and(|objective| objective.seconds() == 0) => fault("objective", "it is nothing"),
        _ => Ok(()),
    }
}

fn check_boot(table: &Table) -> Result<(), (&'static str, String)> {
    let is_named = table.checks.as_ref().map(|checks| checks.contains(&DrillCheck::Boot));
    match (&table.boot, is_named) {
        (None, Some(true)) => Err(("checks", "the check 'boot' needs the field boot, such as { agent = true }".to_owned())),
        (Some(_), Some(false)) => Err(("boot", "'boot' is not among the checks".to_owned())),
        (Some(boot), _) => boot.entry().map(drop),
        (None, _) => Ok(()),
    }
}

/// A drill has no window: it starts when it is due, and one that was missed as soon as it can.
fn check_schedules(table: &Table) -> Result<(), (String, String)> {
    if let Some(place) = table.schedules.iter().position(|schedule| schedule.window.is_some()) {
        return Err((
            format!("schedule[{place}].window"),
            "a drill starts when it is due, or as soon as it can; leave it out".to_owned(),
        ));
    }
    Timetable::of(table.schedules.clone()).map(drop).map_err(|error| (error.field, error.reason))
}
