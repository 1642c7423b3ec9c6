use std::{
    fs,
    io::Read,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::Done;

/// Longest that a test waits for what has to happen; where it does not, the test fails. Most of it happens within a second, but took
/// a minute and more on a machine that had just built everything.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// How often a running command is looked at.
const GLANCE: Duration = Duration::from_micros(500);

/// A command that runs.
pub struct Running {
    command: String,
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    started: Instant,
    peak_memory_bytes: u64,
}

impl Running {
    pub(crate) fn start(mut command: Command, shown: String) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
        let stdout = child.stdout.take().map(drain);
        let stderr = child.stderr.take().map(drain);
        Self { command: shown, child, stdout, stderr, started: Instant::now(), peak_memory_bytes: 0 }
    }

    /// Waits until `seen` holds while the command runs; false where the command ended first.
    pub fn reaches(&mut self, seen: impl Fn() -> bool) -> bool {
        loop {
            if self.ended().is_some() {
                return false;
            }
            if seen() {
                return true;
            }
            thread::sleep(GLANCE);
        }
    }

    /// Kills it at once (SIGKILL) and waits for its end.
    #[must_use]
    pub fn kill(mut self) -> Done {
        self.child.kill().expect("a child can be killed");
        self.finish()
    }

    /// Presses Ctrl-C (SIGINT) and waits for its end.
    #[must_use]
    pub fn interrupt(self) -> Done {
        self.signal("INT")
    }

    /// Asks it to end (SIGTERM) and waits until it does.
    #[must_use]
    pub fn terminate(self) -> Done {
        self.signal("TERM")
    }

    /// Stops it where it is (SIGSTOP), until [`Self::go_on`].
    pub fn stop(&self) {
        self.tell("STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn go_on(&self) {
        self.tell("CONT");
    }

    fn tell(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        assert!(status.expect("sh runs").success(), "SIG{name} reaches {}", self.command);
    }

    fn signal(mut self, name: &str) -> Done {
        // A service may have run for long before.
        self.started = Instant::now();
        if self.ended().is_none() {
            self.tell(name);
        }
        self.finish()
    }

    /// Waits for its end; panics where it hangs, and where the program itself panicked.
    #[must_use]
    pub fn finish(mut self) -> Done {
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            thread::sleep(GLANCE * 4);
        };
        let done = Done {
            command: self.command.clone(),
            code: status.code(),
            signal: status.signal(),
            stdout: collect(self.stdout.take()),
            stderr: String::from_utf8_lossy(&collect(self.stderr.take())).into_owned(),
            peak_memory_bytes: self.peak_memory_bytes,
        };
        assert!(done.code != Some(101) && !done.stderr.contains("panicked at"), "the program panicked: {done}");
        done
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        let memory = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        self.peak_memory_bytes = self.peak_memory_bytes.max(high_water(&memory));
        let ended = self.child.try_wait().expect("a child can be waited for");
        if ended.is_none() && self.started.elapsed() > PATIENCE {
            self.child.kill().expect("a child can be killed");
            panic!("still running after {} s: {}", PATIENCE.as_secs(), self.command);
        }
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only a test that failed leaves a command behind; it may have ended by itself, and then neither call matters.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// `VmHWM` of `/proc/<pid>/status`, in bytes.
fn high_water(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

fn drain(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).expect("a pipe can be read");
        all
    })
}

fn collect(reader: Option<JoinHandle<Vec<u8>>>) -> Vec<u8> {
    reader.map_or_else(Vec::new, |reader| reader.join().expect("the reader ended"))
}
