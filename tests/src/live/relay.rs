use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

/// What a [`Relay`] does with a command instead of passing it on.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is not passed on; this document is the answer.
    Answer(Value),
    /// It is not passed on; these bytes are the answer.
    Bytes(&'static [u8]),
    /// It is passed on, and the answer swallowed.
    Silence,
    /// It is passed on, and the connection closed instead of the answer.
    Close,
    /// It waits until [`Relay::go_on`].
    Hold,
}

/// Which command a fault is for.
#[derive(Clone, Copy, Debug)]
pub enum At {
    /// The one of this number, from 1, counted over all connections since the fault was set.
    Number(usize),
    /// Each of this name.
    Name(&'static str),
}

/// A socket in front of another: what QEMU's monitor or a guest agent says goes through it, with faults.
pub struct Relay {
    path: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    to: PathBuf,
    state: Mutex<State>,
    resumed: Condvar,
    over: AtomicBool,
}

#[derive(Default)]
struct State {
    fault: Option<(At, Fault)>,
    commands: Vec<String>,
    holding: bool,
}

/// What to do with the answers to the last command of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Pass,
    Swallow,
    Close,
}

impl Fault {
    /// A refusal as QEMU and the agent write it.
    #[must_use]
    pub fn refusal(class: &str, text: &str) -> Self {
        Self::Answer(json!({"error": {"class": class, "desc": text}}))
    }
}

impl Relay {
    /// A relay at `path` to the socket `to`, without faults.
    #[must_use]
    pub fn start(path: PathBuf, to: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).expect("a socket can be made");
        let (state, resumed, over) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { to, state, resumed, over });
        let relay = Self { path, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(&client));
            }
        });
        relay
    }

    /// The socket for the product.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.path
    }

    /// Sets the fault, counts commands from here on, and lets go what is held.
    pub fn set(&self, at: At, fault: Fault) {
        *self.shared.state() = State { fault: Some((at, fault)), ..State::default() };
        self.shared.resumed.notify_all();
    }

    /// Passes everything on from here, what is held, too; counts commands anew.
    pub fn go_on(&self) {
        *self.shared.state() = State::default();
        self.shared.resumed.notify_all();
    }

    /// Names of the commands that came since the fault was set.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.shared.state().commands.clone()
    }

    /// Whether a command is held.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.shared.state().holding
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.go_on();
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the listener up.
        drop(UnixStream::connect(&self.path));
        drop(fs::remove_file(&self.path));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one client to its end.
    fn serve(&self, client: &UnixStream) {
        let Ok(server) = UnixStream::connect(&self.to) else { return };
        let next = Mutex::new(Next::Pass);
        thread::scope(|scope| {
            scope.spawn(|| {
                answers(&server, client, &next);
                close(&server, client);
            });
            self.commands(client, &server, &next);
            close(&server, client);
        });
    }

    /// Passes commands on, to the end of the connection.
    fn commands(&self, client: &UnixStream, server: &UnixStream, next: &Mutex<Next>) {
        let mut lines = BufReader::new(client);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(read) if read > 0) {
            let passed = match self.fault_for(&line) {
                Some(Fault::Answer(answer)) => tell(client, &with_id_of(&line, answer)),
                Some(Fault::Bytes(bytes)) => tell(client, bytes),
                Some(Fault::Silence) => pass(server, &line, next, Next::Swallow),
                Some(Fault::Close) => pass(server, &line, next, Next::Close),
                Some(Fault::Hold) => {
                    self.wait();
                    tell(server, &line)
                }
                None => pass(server, &line, next, Next::Pass),
            };
            if !passed {
                return;
            }
            line.clear();
        }
    }

    fn fault_for(&self, line: &[u8]) -> Option<Fault> {
        let command = document(line)["execute"].as_str()?.to_owned();
        let mut state = self.state();
        state.commands.push(command);
        let number = state.commands.len();
        let command = &state.commands[number - 1];
        let (at, fault) = state.fault.as_ref()?;
        let meant = match at {
            At::Number(wanted) => *wanted == number,
            At::Name(name) => name == command,
        };
        meant.then(|| fault.clone())
    }

    fn wait(&self) {
        let mut state = self.state();
        state.holding = true;
        drop(self.resumed.wait_while(state, |state| state.holding));
    }
}

/// Passes answers and events on, to the end of the connection.
fn answers(server: &UnixStream, client: &UnixStream, next: &Mutex<Next>) {
    let mut lines = BufReader::new(server);
    let mut line = Vec::new();
    while matches!(lines.read_until(b'\n', &mut line), Ok(read) if read > 0) {
        let answer = document(&line);
        let is_answer = answer.get("return").or_else(|| answer.get("error")).is_some();
        // Until the next command: the guest agent answers the 0xFF before a command, too.
        let what = if is_answer { *next.lock().unwrap_or_else(PoisonError::into_inner) } else { Next::Pass };
        if what == Next::Close || (what == Next::Pass && !tell(client, &line)) {
            return;
        }
        line.clear();
    }
}

fn pass(server: &UnixStream, line: &[u8], next: &Mutex<Next>, what: Next) -> bool {
    *next.lock().unwrap_or_else(PoisonError::into_inner) = what;
    tell(server, line)
}

fn tell(mut to: &UnixStream, bytes: &[u8]) -> bool {
    to.write_all(bytes).is_ok()
}

fn close(server: &UnixStream, client: &UnixStream) {
    for stream in [server, client] {
        // Whoever is gone already is closed.
        drop(stream.shutdown(Shutdown::Both));
    }
}

/// What a line says; before it there may be the 0xFF that the guest agent takes for a fresh start.
fn document(line: &[u8]) -> Value {
    let start = line.iter().position(|byte| *byte == b'{').unwrap_or(0);
    serde_json::from_slice(&line[start..]).unwrap_or_default()
}

fn with_id_of(line: &[u8], mut answer: Value) -> Vec<u8> {
    if let Some(id) = document(line).get("id") {
        answer["id"] = id.clone();
    }
    format!("{answer}\n").into_bytes()
}
