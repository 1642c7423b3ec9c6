//! A script that starts a restored machine of platform `qemu`, made from the command line of the QEMU that was backed up.
//!
//! Only words and files are moved; nothing is looked at, so that the script is the same wherever it is made.

mod disks;
mod identity;
mod isolation;
mod line;
mod network;
mod outside;
mod places;
mod tree;

use std::path::{Path, PathBuf};

use stillpoint_model::{Error, Result};

pub use identity::Fresh;
pub use isolation::{AGENT, SERIAL};
use line::Line;
pub use line::MONITOR;

/// A disk that was restored.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Its name in the point.
    pub name: String,
    /// The file that it was in when the machine's record was written.
    pub was: Option<String>,
    /// The file that it is in now.
    pub file: PathBuf,
    /// `raw` or `qcow2`.
    pub format: &'static str,
}

/// A firmware's variables that were restored.
#[derive(Debug, Clone, Copy)]
pub struct Variables<'a> {
    /// The file that they were in.
    pub was: &'a str,
    /// The file that they are in now.
    pub file: &'a Path,
}

/// What a script is made of.
#[derive(Debug)]
pub struct Request<'a> {
    /// The command line: program and arguments.
    pub arguments: Vec<String>,
    /// The new machine's name.
    pub name: &'a str,
    /// Where it lives: sockets and logs move here.
    pub folder: &'a Path,
    /// Its disks.
    pub disks: &'a [Disk],
    /// What its firmware remembers, if that was restored.
    pub variables: Option<Variables<'a>>,
    /// What tells it from the old one; none to be the same.
    pub fresh: Option<Fresh>,
    pub reach: Reach,
}

/// What the new machine reaches, and is reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// What the old one did.
    Same,
    /// All but networks.
    NoNetwork,
    /// Nothing, but for what looks at it.
    Nothing,
}

/// The script, and what the operator should know.
#[derive(Debug)]
pub struct Script {
    pub text: String,
    pub warnings: Vec<String>,
    /// Why it must be read before it is run.
    pub obstacles: Vec<String>,
}

/// Writes the script.
///
/// # Errors
/// `invalid` when this is no command line of QEMU's.
pub fn script(request: Request<'_>) -> Result<Script> {
    let Request { arguments, name, folder, disks, variables, fresh, reach } = request;
    let mut words = arguments.into_iter();
    let program = words.next().ok_or_else(|| Error::invalid("the machine's command line is empty"))?;
    let folder_text = folder.to_str().ok_or_else(|| Error::invalid(format!("path {} is not UTF-8", folder.display())))?;
    let mut line = Line::read(words);
    line.drop_transient();
    match reach {
        Reach::Same => {}
        Reach::NoNetwork => network::remove(&mut line),
        Reach::Nothing => isolation::isolate(&mut line, folder),
    }
    let mut warnings = disks::replace(&mut line, disks);
    warnings.extend(variables.and_then(|variables| disks::lead_to(&mut line, variables)));
    warnings.extend(outside::lost(&line));
    identity::rename(&mut line, name, fresh);
    let (connects, mut obstacles) = places::move_into(&mut line, folder_text);
    warnings.extend(connects);
    let (outside, shared) = outside::of(&line, folder_text);
    obstacles.extend(shared);
    let mut text = format!("#!/bin/sh\n# Starts {name}, restored by stillpoint.\n");
    if !outside.is_empty() {
        text.push_str("# Outside of this folder it uses:\n");
        outside.iter().for_each(|one| text.push_str(&format!("#   {}\n", one.escape_debug())));
    }
    text.push_str(&format!("exec {}", quoted(&program)));
    for argument in line.arguments() {
        text.push_str(" \\\n ");
        argument.words().iter().for_each(|word| text.push_str(&format!(" {}", quoted(word))));
    }
    text.push_str(" \\\n  \"$@\"\n");
    Ok(Script { text, warnings, obstacles })
}

/// A word as a POSIX shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests;
