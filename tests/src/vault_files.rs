//! A vault as a stranger sees it: names of objects in a folder. Names follow the layout in the format's specification.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The vault's objects by name, sorted. Files a writer is still staging (a dot in front, `#` or `.tmp` in the name) are none.
#[must_use]
pub fn objects(vault: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(vault.join(&folder)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = folder.join(&name);
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(_) if name.starts_with('.') || name.contains('#') || name.ends_with(".tmp") => {}
                _ => found.push(path.to_string_lossy().into_owned()),
            }
        }
    }
    found.sort();
    found
}

/// The objects of one kind.
#[must_use]
pub fn objects_of(vault: &Path, kind: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = objects(vault);
    found.retain(|name| kind(name));
    found
}

/// The same vault elsewhere.
pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("--archive").arg(from).arg(to).status();
    assert!(status.expect("cp runs").success(), "{} can be copied", from.display());
}

/// Bytes of all objects.
#[must_use]
pub fn stored_bytes(vault: &Path) -> u64 {
    objects(vault).iter().filter_map(|name| fs::metadata(vault.join(name)).ok()).map(|file| file.len()).sum()
}

/// A pack.
#[must_use]
pub fn is_pack(name: &str) -> bool {
    name.starts_with("packs/")
}

/// A record of some job's ledger, in any state.
#[must_use]
pub fn is_ledger(name: &str) -> bool {
    name.starts_with("jobs/") && name.ends_with(".json") && !is_marker(name)
}

/// A ledger record that says a job is in `state`.
#[must_use]
pub fn says(name: &str, state: &str) -> bool {
    is_ledger(name) && name.ends_with(&format!("-{state}.json"))
}

/// A plan.
#[must_use]
pub fn is_plan(name: &str) -> bool {
    name.starts_with("jobs/") && name.ends_with("/plan")
}

/// A marker of a segment.
#[must_use]
pub fn is_marker(name: &str) -> bool {
    name.starts_with("jobs/") && name.contains("/done/")
}

/// The record that decides how a job ends.
#[must_use]
pub fn is_decision(name: &str) -> bool {
    name.starts_with("jobs/") && name.ends_with("/decision")
}

/// A manifest.
#[must_use]
pub fn is_manifest(name: &str) -> bool {
    name.starts_with("points/") && name.contains("/manifest-")
}

/// A commit.
#[must_use]
pub fn is_commit(name: &str) -> bool {
    name.starts_with("points/") && name.ends_with("/point.json")
}

/// What `packs/<item>/<job>/<group>/<segment>-<attempt>-<n>` says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackName {
    /// The job that made it.
    pub job: String,
    /// The group of its segment.
    pub group: String,
    /// Its segment.
    pub segment: String,
    /// The attempt that made it.
    pub attempt: String,
}

impl PackName {
    /// Reads a pack's name.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        let parts: Vec<&str> = name.split('/').collect();
        let [_, _, job, group, file] = parts[..] else { panic!("{name} is no pack's name") };
        let mut words = file.split('-');
        let mut word = || words.next().unwrap_or_else(|| panic!("{name} is no pack's name")).to_owned();
        let (segment, attempt) = (word(), word());
        Self { job: job.to_owned(), group: group.to_owned(), segment, attempt }
    }

    /// Whether the marker of this pack's segment is among `names`.
    #[must_use]
    pub fn is_done(&self, names: &[String]) -> bool {
        let end = format!("/{}/done/{}/{}", self.job, self.group, self.segment);
        names.iter().any(|name| name.ends_with(&end))
    }
}
