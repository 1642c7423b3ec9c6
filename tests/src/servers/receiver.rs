//! A receiver of webhooks that answers as it is told.

use std::{
    collections::VecDeque,
    io::{self, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use super::{http::Request, process::tool};

/// Longer than any client of the tests waits.
const NEVER: Duration = Duration::from_secs(20);

/// What the receiver answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// This status.
    Status(u16),
    /// That the message belongs elsewhere.
    Redirect(String),
    /// Nothing, and the connection stays.
    Silence,
    /// Nothing, and the connection ends.
    Close,
}

#[derive(Default)]
struct State {
    script: Mutex<VecDeque<Reply>>,
    requests: Mutex<Vec<Request>>,
    ended: AtomicBool,
}

/// The receiver; it takes what its script does not mention.
pub struct Receiver {
    port: u16,
    state: Arc<State>,
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What receivers run, in another language and with another library than the sender.
const CHECK: &str = r#"
import base64, hashlib, hmac, sys
secret, sent_id, timestamp, signature = sys.argv[1:]
key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
body = sys.stdin.buffer.read()
digest = hmac.new(key, f"{sent_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
sys.exit(not hmac.compare_digest("v1," + base64.b64encode(digest).decode(), signature))
"#;

/// Whether a message is signed with `secret`, as Python sees it.
#[must_use]
pub fn is_signed(request: &Request, secret: &str) -> bool {
    let header = |name: &str| request.header(name).unwrap_or_else(|| panic!("no {name} in {request:?}")).to_owned();
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header);
    let mut check = Command::new(tool("python/bin/python"));
    check.args(["-c", CHECK, secret]).args(headers).stdin(std::process::Stdio::piped());
    let mut check = check.spawn().expect("Python runs");
    check.stdin.take().expect("it is piped").write_all(&request.body).expect("Python reads");
    check.wait().expect("Python ends").success()
}

impl Receiver {
    /// A receiver that answers the first messages so.
    #[must_use]
    pub fn new(script: &[Reply]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("a listener has a port").port();
        let state = Arc::new(State { script: Mutex::new(script.iter().cloned().collect()), ..State::default() });
        let for_all = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if for_all.ended.load(SeqCst) {
                    return;
                }
                let state = Arc::clone(&for_all);
                thread::spawn(move || drop(state.talk(&stream)));
            }
        });
        Self { port, state }
    }

    /// Where it takes messages.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/alarms", self.port)
    }

    /// What it answers to the next messages, one after the other.
    pub fn next(&self, replies: &[Reply]) {
        lock(&self.state.script).extend(replies.iter().cloned());
    }

    /// The messages since the last call.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.state.requests))
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.state.ended.store(true, SeqCst);
        // Wakes the listener; when that fails it is gone already.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

impl State {
    fn talk(&self, mut stream: &TcpStream) -> io::Result<()> {
        let mut from = BufReader::new(stream);
        while let Some(mut request) = Request::head(&mut from)? {
            request.body = vec![0; request.body_length()];
            from.read_exact(&mut request.body)?;
            let reply = lock(&self.script).pop_front().unwrap_or(Reply::Status(204));
            lock(&self.requests).push(request);
            let head = match reply {
                Reply::Status(status) => format!("HTTP/1.1 {status} Told\r\n"),
                Reply::Redirect(place) => format!("HTTP/1.1 307 Told\r\nlocation: {place}\r\n"),
                Reply::Close => return Ok(()),
                Reply::Silence => {
                    thread::sleep(NEVER);
                    return Ok(());
                }
            };
            stream.write_all(format!("{head}content-length: 0\r\n\r\n").as_bytes())?;
        }
        Ok(())
    }
}
