//! The operator's own check: exit code 0 says yes.

use std::process::Command;

use stillpoint_model::{Error, Result};

use super::{Finding, Outcome, Restored};
use crate::commands::drill::outside;

/// What our own settings begin with, secrets among them: none of a script's business.
const OURS: &str = "STILLPOINT_";
/// Its last lines that go into a report.
const LINES_MAX: usize = 20;

pub fn check(restored: &Restored) -> Result<Finding> {
    let script = restored.script.as_ref().ok_or_else(|| Error::internal("there is no script"))?;
    let mut command = Command::new(&script.path);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with(OURS)) {
            command.env_remove(name);
        }
    }
    command.env("STILLPOINT_DRILL_MACHINE", restored.machine.as_str());
    command.env("STILLPOINT_DRILL_POINT", restored.point.id.to_string());
    for (name, path) in &restored.disks {
        command.env(variable(name.as_str()), path);
    }
    let ended = outside::run(command, &restored.folder, script.timeout, &restored.stopped)?;
    let ended = ended.ok_or_else(|| {
        Error::missing(format!("{} cannot be run: it, or its interpreter, is not there", script.path.display()))
    })?;
    let outcome = if ended.code == Some(0) { Outcome::Passed } else { Outcome::Failed };
    Ok(Finding {
        details: ended.last(LINES_MAX),
        ..Finding::new(outcome, format!("{}: {}", script.path.display(), ended.shown()))
    })
}

/// The name that a disk's path has in the environment.
fn variable(disk: &str) -> String {
    let upper = disk.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    format!("STILLPOINT_DRILL_DISK_{}", upper.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::variable;

    #[test]
    fn any_name_of_a_disk_is_one_in_the_environment() {
        assert_eq!(variable("os"), "STILLPOINT_DRILL_DISK_OS");
        assert_eq!(variable("data-2.raw"), "STILLPOINT_DRILL_DISK_DATA_2_RAW");
    }
}
