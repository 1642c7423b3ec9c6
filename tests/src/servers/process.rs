//! A server in a process of its own.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::http::ask;

/// Longest time to begin to listen; it takes one second on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// Another process may take a port in the moment after it was found free.
const TRIES: u32 = 3;

/// The server, its folder and its ports. Killed when dropped.
pub(crate) struct Process {
    pub ports: Vec<u16>,
    /// Dropped to end the thread that holds the process.
    stop: Option<Sender<()>>,
    holder: Option<JoinHandle<()>>,
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
        let command = bound_to_us(&command(folder.path(), &ports), &log);
        let (stop, stopped) = channel();
        let ended: Arc<AtomicBool> = Arc::default();
        let holder = {
            let ended = Arc::clone(&ended);
            thread::spawn(move || hold(command, &stopped, &ended))
        };
        let process = Self { ports, stop: Some(stop), holder: Some(holder), folder };
        let begun = Instant::now();
        while ask(process.ports[0], "GET", "/", &[], b"").is_none() {
            if ended.load(SeqCst) {
                return None;
            }
            let told = || fs::read_to_string(process.folder.path().join("server.log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "{name} does not listen after {} s: {}", PATIENCE.as_secs(), told());
            thread::sleep(Duration::from_millis(50));
        }
        Some(process)
    }
}

impl Drop for Process {
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

/// Starts the process and holds it until it ends or nobody wants it any more.
fn hold(mut command: Command, stopped: &Receiver<()>, ended: &AtomicBool) {
    let mut child: Child = command.spawn().expect("setpriv is installed (util-linux)");
    // Nothing is ever sent: an error other than a time-out says that the other end is gone.
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(50)) {
        if child.try_wait().expect("a child can be waited for").is_some() {
            ended.store(true, SeqCst);
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
