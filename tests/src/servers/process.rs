//! A server in a process of its own.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::http::ask;
use crate::PATIENCE;

/// Another process may take a port in the moment after it was found free.
const TRIES: u32 = 3;

/// A process that dies with this one, however this one ends. Killed when dropped.
pub(crate) struct Bound {
    /// Its number.
    pub pid: u32,
    /// Dropped to end the thread that holds the process.
    stop: Option<Sender<()>>,
    holder: Option<JoinHandle<()>>,
}

/// The server, its folder and its ports.
pub(crate) struct Process {
    pub ports: Vec<u16>,
    process: Bound,
    folder: TempDir,
}

/// A program that `tests/run` installs, by its path in the folder of the tools.
pub(crate) fn tool(path: &str) -> PathBuf {
    let folder = env::var_os("STILLPOINT_TEST_TOOLS").map(PathBuf::from).unwrap_or_else(|| {
        let home = env::var_os("HOME").expect("HOME is set");
        Path::new(&home).join(".cache/stillpoint/tools")
    });
    let program = folder.join(path);
    assert!(program.exists(), "{} is missing: run tests/run --install-only", program.display());
    program
}

impl Process {
    /// Starts what `command` makes of a folder and free ports, and waits until the first of them answers HTTP.
    pub(crate) fn start(name: &str, ports: usize, command: impl Fn(&Path, &[u16]) -> Command) -> Self {
        for _ in 0..TRIES {
            if let Some(process) = Self::try_start(name, ports, &command) {
                return process;
            }
        }
        panic!("{name} ended at once, {TRIES} times");
    }

    fn try_start(name: &str, ports: usize, command: impl Fn(&Path, &[u16]) -> Command) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("stillpoint-{name}-")).tempdir().expect("a folder can be made");
        let ports = super::http::free_ports(ports);
        let log = folder.path().join("server.log");
        let process = Bound::start(&command(folder.path(), &ports), &log);
        let process = Self { ports, process, folder };
        let begun = Instant::now();
        while ask(process.ports[0], "GET", "/", &[], b"").is_none() {
            if process.process.has_ended() {
                return None;
            }
            let told = || fs::read_to_string(process.folder.path().join("server.log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "{name} does not listen after {} s: {}", PATIENCE.as_secs(), told());
            thread::sleep(Duration::from_millis(50));
        }
        Some(process)
    }
}

impl Bound {
    /// Starts a command, whose output goes to `log`.
    pub(crate) fn start(command: &Command, log: &Path) -> Self {
        let command = bound_to_us(command, log);
        let (stop, stopped) = channel();
        let (tell, told) = channel();
        let holder = thread::spawn(move || hold(command, &stopped, &tell));
        let pid = told.recv().expect("setpriv is installed (util-linux)");
        Self { pid, stop: Some(stop), holder: Some(holder) }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.holder.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(holder) = self.holder.take() {
            // A thread that panicked has said so itself.
            drop(holder.join());
        }
    }
}

/// The same command, whose process the kernel kills when the thread that started it ends.
fn bound_to_us(command: &Command, log: &Path) -> Command {
    let output = File::create(log).expect("a log can be made");
    let mut bound = Command::new("setpriv");
    bound.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
    bound.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let errors = output.try_clone().expect("a file can be shared");
    bound.stdin(Stdio::null()).stdout(output).stderr(errors);
    bound
}

/// Starts the process, tells its number and holds it until it ends or nobody wants it any more.
fn hold(mut command: Command, stopped: &Receiver<()>, tell: &Sender<u32>) {
    let mut child: Child = command.spawn().expect("setpriv is installed (util-linux)");
    tell.send(child.id()).expect("whoever started the thread waits for the number");
    // Nothing is ever sent: an error other than a time-out says that the other end is gone.
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(50)) {
        if child.try_wait().expect("a child can be waited for").is_some() {
            return;
        }
    }
    // It may have ended by itself.
    drop(child.kill());
    drop(child.wait());
}

/// The server that other tests of this process use just now, or a new one.
pub(crate) fn shared<T>(place: &Mutex<Weak<T>>, start: impl FnOnce() -> T) -> Arc<T> {
    let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
    place.upgrade().unwrap_or_else(|| {
        let server = Arc::new(start());
        *place = Arc::downgrade(&server);
        server
    })
}
