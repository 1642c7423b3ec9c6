//! Programs of the system and of the operator: run beside us, ended when they take too long, heard to their last lines.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use stillpoint_model::{Error, Result};

/// How often a running program is looked at.
const GLANCE: Duration = Duration::from_millis(20);
/// What is read of the end of what it said.
const HEARD_BYTES: u64 = 64 * 1024;
/// Characters of a line that go into a report.
const LINE_CHARS_MAX: usize = 300;
/// The file that it says all into.
const LOG: &str = "said";

/// How a program ended.
pub struct Ended {
    /// Its exit code; none where a signal or its time ended it.
    pub code: Option<i32>,
    /// Whether it took too long.
    pub is_late: bool,
    /// Its last lines.
    pub lines: Vec<String>,
}

impl Ended {
    /// The last `count` of its lines, long ones cut.
    pub fn last(&self, count: usize) -> Vec<String> {
        last(&self.lines, count)
    }

    /// How, in words.
    pub fn shown(&self) -> String {
        match self.code {
            _ if self.is_late => "it took too long and was ended".to_owned(),
            Some(code) => format!("exit code {code}"),
            None => "a signal ended it".to_owned(),
        }
    }
}

/// The last `count` lines, long ones cut.
pub fn last(lines: &[String], count: usize) -> Vec<String> {
    let shortened = |line: &String| line.chars().take(LINE_CHARS_MAX).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(shortened).collect()
}

/// A program that runs. Dropped, it is ended, with all that it has started.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command` in `folder`; `None` where there is no such program.
    pub fn start(mut command: Command, folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(LOG);
        let log = File::create(&path)?;
        command.current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A group of its own: Ctrl-C reaches us alone, and all that the program has started ends with it.
        command.process_group(0);
        match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            child => Ok(Some(Self { child: child?, log: path })),
        }
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The last `count` lines that it has said.
    pub fn last(&self, count: usize) -> Result<Vec<String>> {
        Ok(last(&last_lines(&self.log)?, count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails where nothing is left of the group.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process_group(group, Signal::KILL).ok();
        }
        drop(self.child.wait());
        drop(fs::remove_file(&self.log));
    }
}

/// Runs `command` in `folder` to its end; `None` where there is no such program. Blocks.
///
/// # Errors
/// `fenced` when `stopped` is set, which ends the program; as the system.
pub fn run(command: Command, folder: &Path, patience: Duration, stopped: &AtomicBool) -> Result<Option<Ended>> {
    let Some(mut running) = Running::start(command, folder)? else { return Ok(None) };
    let until = Instant::now() + patience;
    let (code, is_late) = loop {
        match running.ended()? {
            Some(status) => break (status.code(), false),
            None if stopped.load(Ordering::Relaxed) => return Err(Error::fenced("interrupted by the operator")),
            None if Instant::now() >= until => break (None, true),
            None => thread::sleep(GLANCE),
        }
    };
    Ok(Some(Ended { code, is_late, lines: last_lines(&running.log)? }))
}

fn last_lines(path: &Path) -> Result<Vec<String>> {
    let mut log = File::open(path)?;
    let length = log.metadata()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(HEARD_BYTES)))?;
    let mut bytes = Vec::new();
    log.take(HEARD_BYTES).read_to_end(&mut bytes)?;
    Ok(lines(&bytes))
}

/// Lines that say something, as they can be printed.
pub fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().map(printable).filter(|line| !line.trim().is_empty()).collect()
}

/// Without what terminals obey.
pub fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str, patience: Duration, stopped: bool) -> Result<Option<Ended>> {
        let folder = std::env::temp_dir().join(format!("stillpoint-outside-{}-{}", std::process::id(), text.len()));
        fs::create_dir_all(&folder)?;
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        let ended = run(command, &folder, patience, &AtomicBool::new(stopped));
        fs::remove_dir_all(folder)?;
        ended
    }

    #[test]
    fn its_code_and_last_lines_are_heard() {
        let ended = script("seq 1 30; printf 'odd \\033[2J end' >&2; exit 7", Duration::from_secs(60), false).unwrap().unwrap();
        assert_eq!((ended.code, ended.is_late, ended.lines.len()), (Some(7), false, 31));
        assert_eq!(ended.last(2), ["30", "odd  [2J end"]);
    }

    #[test]
    fn what_takes_too_long_or_is_not_wanted_any_more_is_ended() {
        let ended = script("sleep 600 & sleep 600", Duration::from_millis(1), false).unwrap().unwrap();
        assert!(ended.is_late && ended.code.is_none());
        assert!(script("sleep 600", Duration::from_secs(60), true).is_err());
    }

    #[test]
    fn a_program_that_is_not_there_is_none() {
        let ended = run(Command::new("/nowhere/checker"), &std::env::temp_dir(), GLANCE, &AtomicBool::new(false));
        assert!(ended.unwrap().is_none());
    }
}
