//! Boots the machine from the disks just restored, apart from everything: without networks, on overlays that go again, so that the restored
//! bytes stay what they are.

mod machine;
mod serial;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use stillpoint_model::{Error, Result};
use stillpoint_policy_file::{BootEntry, BootSign};
use stillpoint_qemu::agent_answers;

use self::serial::Serial;
use super::{Finding, Outcome, Restored};
use crate::{
    commands::drill::outside::{Running, printable},
    start::AGENT,
};

/// Where all of it is, in a drill's folder.
const FOLDER: &str = "boot";
/// The file whose name on QEMU's command line tells whose machine it is.
const PID: &str = "pid";
const PID_OPTION: &str = "-pidfile";
/// Between two looks.
const GLANCE: Duration = Duration::from_millis(50);
/// Until a machine that was killed is gone.
const ENDS: Duration = Duration::from_secs(10);
/// Last lines of the serial port and of QEMU that go into a report.
const LINES_MAX: usize = 20;

/// A folder that goes with the check.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

pub fn check(restored: &Restored) -> Result<Finding> {
    let boot = restored.boot.as_ref().ok_or_else(|| Error::internal("nothing says how to tell that it has booted"))?;
    let scratch = Scratch(restored.folder.join(FOLDER));
    let folder = &scratch.0;
    fs::create_dir(folder)?;
    let made = machine::make(restored, boot, folder)?;
    let mut command = Command::new("sh");
    command.arg(&made.script).arg(PID_OPTION).arg(folder.join(PID));
    let began = Instant::now();
    let running = Running::start(command, folder)?.ok_or_else(|| Error::missing("there is no shell"))?;
    // Dropped, it is ended, before its folder goes.
    let seen = wait(restored, boot, folder, running, began)?;
    Ok(Finding { summary: format!("{}; {}", made.how, seen.summary), ..seen })
}

/// Waits until the machine has booted, has ended, or took too long.
fn wait(restored: &Restored, boot: &BootEntry, folder: &Path, mut running: Running, began: Instant) -> Result<Finding> {
    let timeout = Duration::from_secs(boot.timeout.seconds());
    let mut serial = Serial::of(folder, &boot.sign)?;
    loop {
        restored.go_on()?;
        serial.read()?;
        let is_up = match boot.sign {
            BootSign::Agent => restored.handle.block_on(agent_answers(&folder.join(AGENT))),
            BootSign::Text(_) | BootSign::Pattern(_) => serial.has_said(),
        };
        let took = began.elapsed();
        let seconds = took.as_secs_f64();
        if is_up && took <= timeout {
            let finding = Finding::new(Outcome::Passed, format!("{} after {seconds:.1} s", seen(&boot.sign)));
            return Ok(Finding { boot_ms: u64::try_from(took.as_millis()).ok(), ..finding });
        }
        let why = if running.ended()?.is_some() {
            Some(format!("its QEMU ended after {seconds:.1} s{}", complaint(&running)?))
        } else if took >= timeout {
            Some(format!("it did not boot within {} s: {}", timeout.as_secs(), unseen(&boot.sign)))
        } else {
            None
        };
        if let Some(why) = why {
            let details = [serial.last(LINES_MAX), running.last(LINES_MAX)?].concat();
            return Ok(Finding { details, ..Finding::new(Outcome::Failed, why) });
        }
        thread::sleep(GLANCE);
    }
}

/// What QEMU itself said last, behind which it may have given advice.
fn complaint(running: &Running) -> Result<String> {
    let said = running.last(LINES_MAX)?;
    let line = said.iter().rev().find(|line| line.starts_with("qemu")).or(said.last());
    Ok(line.map_or_else(String::new, |line| format!(": {line}")))
}

fn seen(sign: &BootSign) -> String {
    match sign {
        BootSign::Agent => "the guest agent answered".to_owned(),
        BootSign::Text(text) => format!("the serial port said '{}'", printable(text)),
        BootSign::Pattern(pattern) => format!("the serial port said what /{}/ matches", printable(pattern)),
    }
}

fn unseen(sign: &BootSign) -> String {
    match sign {
        BootSign::Agent => "the guest agent did not answer".to_owned(),
        BootSign::Text(text) => format!("the serial port did not say '{}'", printable(text)),
        BootSign::Pattern(pattern) => format!("the serial port said nothing that /{}/ matches", printable(pattern)),
    }
}

/// Ends the machine that a dead drill has left running in its folder, which is known by a word that no other process has.
pub fn end_dead(folder: &Path) -> Result<()> {
    let pid = folder.join(FOLDER).join(PID);
    let until = Instant::now() + ENDS;
    loop {
        let left = processes(&pid)?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::unavailable(format!("the machine of {} does not end", folder.display())));
        }
        for process in left {
            // It may have gone meanwhile.
            kill_process(process, Signal::KILL).ok();
        }
        thread::sleep(GLANCE);
    }
}

/// Processes that were started with this file for their number.
fn processes(pid: &Path) -> Result<Vec<Pid>> {
    let is_ours = |line: &[u8]| {
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        words.windows(2).any(|pair| pair == [PID_OPTION.as_bytes(), pid.as_os_str().as_encoded_bytes()])
    };
    let mut found = Vec::new();
    for process in fs::read_dir("/proc")?.flatten() {
        let number = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        // Those of others may not be shown, and any may end meanwhile.
        if let Some(number) = number
            && fs::read(process.path().join("cmdline")).is_ok_and(|line| is_ours(&line))
        {
            found.push(number);
        }
    }
    Ok(found)
}
