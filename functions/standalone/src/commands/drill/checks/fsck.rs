//! The file systems, by the system's own checkers, which change nothing.
//!
//! A point that is only crash-consistent has what a machine leaves when its power goes: a journal to replay, a mark that says "not
//! unmounted". Who boots it replays and removes that before anything else, and so does this, on a copy; what is wrong after that is wrong.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
    time::Duration,
};

use stillpoint_files::Content;
use stillpoint_model::Result;

use super::{
    Finding, Outcome, Restored,
    extents::extract,
    partitions::{Part, parts},
};
use crate::commands::drill::outside::{self, Ended};

/// The largest file systems take hours.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// Where checkers are that the search path of an operator may leave out.
const SYSTEM_FOLDERS: &str = "/usr/sbin:/sbin:/usr/bin:/bin";
/// A part by itself, for checkers that take no offset, and for what has to be replayed first.
const COPY: &str = "part.raw";
/// `e2fsck` has repaired what a crash leaves, and all is well.
const REPAIRED: i32 = 1;
/// Lines of one checker that go into a report.
const LINES_MAX: usize = 10;

pub fn check(restored: &Restored) -> Result<Finding> {
    let mut details = Vec::new();
    let (mut sound, mut faulty, mut skipped) = (0_u32, 0_u32, 0_u32);
    for part in parts(restored)? {
        restored.go_on()?;
        if matches!(part.content, Content::Empty | Content::Other("swap")) {
            continue;
        }
        let found = one(restored, &part)?;
        match found.outcome {
            Outcome::Passed => sound += 1,
            Outcome::Failed => faulty += 1,
            Outcome::Skipped => skipped += 1,
        }
        let what = format!("{} ({}): {}, {}", part.shown(), part.content.as_str(), found.outcome.as_str(), found.summary);
        details.push(what);
        details.extend(found.details.into_iter().map(|line| format!("  {line}")));
    }
    let outcome = match (sound, faulty) {
        (_, 1..) => Outcome::Failed,
        (1.., 0) => Outcome::Passed,
        (0, 0) => Outcome::Skipped,
    };
    let summary = format!("{sound} file systems are sound, {faulty} are not, {skipped} were not checked");
    Ok(Finding { details, ..Finding::new(outcome, summary) })
}

fn one(restored: &Restored, part: &Part) -> Result<Finding> {
    let found = match part.content {
        Content::Ext(_) => ext(restored, part),
        Content::Fat => fat(restored, part),
        Content::Other("XFS") => xfs(restored, part),
        Content::Other("btrfs") => on_copy(restored, part, &["btrfs", "check", "--readonly", COPY]),
        _ => Ok(Finding::new(Outcome::Skipped, "no checker is known for it")),
    };
    drop(fs::remove_file(restored.folder.join(COPY)));
    found
}

/// Runs a checker where the disks are; `Err` with the reason where there is none.
fn run(restored: &Restored, words: &[&str]) -> Result<Result<Ended, Finding>> {
    let mut command = Command::new(words[0]);
    let path = std::env::var("PATH").map_or_else(|_| SYSTEM_FOLDERS.to_owned(), |path| format!("{path}:{SYSTEM_FOLDERS}"));
    command.args(&words[1..]).env("PATH", path).env("LC_ALL", "C");
    let ended = outside::run(command, &restored.folder, PATIENCE, &restored.stopped)?;
    Ok(ended.ok_or_else(|| Finding::new(Outcome::Skipped, format!("{} is not installed", words[0]))))
}

fn judged(words: &[&str], before: &str, ended: &Ended) -> Finding {
    let outcome = if ended.code == Some(0) { Outcome::Passed } else { Outcome::Failed };
    let details = match outcome {
        Outcome::Passed => Vec::new(),
        _ => ended.last(LINES_MAX),
    };
    Finding { details, ..Finding::new(outcome, format!("{before}{}: {}", words.join(" "), ended.shown())) }
}

fn checked(restored: &Restored, before: &str, words: &[&str]) -> Result<Finding> {
    Ok(run(restored, words)?.map_or_else(|finding| finding, |ended| judged(words, before, &ended)))
}

fn copy(restored: &Restored, part: &Part) -> Result<()> {
    extract(&File::open(&part.path)?, part.bytes.clone(), &restored.folder.join(COPY), || restored.go_on())
}

fn on_copy(restored: &Restored, part: &Part, words: &[&str]) -> Result<Finding> {
    copy(restored, part)?;
    checked(restored, "", words)
}

fn read<const N: usize>(path: &Path, at: u64) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open(path)?.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// In place, unless there is a journal to replay.
fn ext(restored: &Restored, part: &Part) -> Result<Finding> {
    /// Where the superblock says what must be understood, and its bit for a journal to be replayed.
    const INCOMPATIBLE: u64 = 1024 + 0x60;
    const RECOVER: u32 = 0x4;
    let needs_recovery = u32::from_le_bytes(read(&part.path, part.bytes.start + INCOMPATIBLE)?) & RECOVER != 0;
    if !needs_recovery {
        // Relative, so that no name of a folder is read as an offset.
        let name = part.path.strip_prefix(&restored.folder).unwrap_or(&part.path).to_string_lossy();
        let place = if part.bytes.start == 0 { name.into_owned() } else { format!("{name}?offset={}", part.bytes.start) };
        return checked(restored, "", &["e2fsck", "-n", "-f", &place]);
    }
    copy(restored, part)?;
    let replay = ["e2fsck", "-p", COPY];
    match run(restored, &replay)? {
        Err(finding) => Ok(finding),
        Ok(ended) if matches!(ended.code, Some(0 | REPAIRED)) => {
            checked(restored, "its journal was replayed on a copy first, as at a boot; ", &["e2fsck", "-n", "-f", COPY])
        }
        Ok(ended) => Ok(judged(&replay, "its journal cannot be replayed as at a boot; ", &ended)),
    }
}

/// On a copy without the mark of a file system that is in use, which is no fault of it.
fn fat(restored: &Restored, part: &Part) -> Result<Finding> {
    /// Sectors of a table; 0 in FAT32, which counts them elsewhere.
    const TABLE_SECTORS: u64 = 22;
    copy(restored, part)?;
    let path = restored.folder.join(COPY);
    let state = if read::<2>(&path, TABLE_SECTORS)? == [0, 0] { 0x41 } else { 0x25 };
    let [mark] = read(&path, state)?;
    let before = if mark & 1 == 1 {
        OpenOptions::new().write(true).open(&path)?.write_all_at(&[mark & !1], state)?;
        "it was in use, which was forgiven; "
    } else {
        ""
    };
    checked(restored, before, &["fsck.fat", "-n", COPY])
}

/// Its log can be replayed by mounting it alone, which this does not do.
fn xfs(restored: &Restored, part: &Part) -> Result<Finding> {
    /// What `xfs_repair -n` says of a log that it leaves as it is.
    const IGNORED: &str = "metadata changes in a log which is being";
    let words = ["xfs_repair", "-n", "-f", COPY];
    copy(restored, part)?;
    let ended = match run(restored, &words)? {
        Err(finding) => return Ok(finding),
        Ok(ended) => ended,
    };
    if ended.code != Some(0) && ended.lines.iter().any(|line| line.contains(IGNORED)) {
        return Ok(Finding::new(Outcome::Skipped, "its log was not replayed, which takes a mount, and so it cannot be told"));
    }
    Ok(judged(&words, "", &ended))
}
