//! The side of Lambda that a bootstrap talks to: its Runtime API, for one process.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, SystemTime},
};

use serde_json::Value;

use crate::servers::Request;

/// What a function answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Its document.
    Answered(Value),
    /// Its error: `errorType` and `errorMessage`.
    Failed(String, String),
}

struct Call {
    id: u64,
    payload: Vec<u8>,
    deadline_ms: u128,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Call>,
    under_way: BTreeMap<u64, Sender<Outcome>>,
    calls: u64,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// See the module. Its queue is for one process: a dead poller would take what is meant for its successor.
pub(crate) struct RuntimeApi {
    port: u16,
    shared: Arc<Shared>,
}

impl RuntimeApi {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("a listener has a port").port();
        let shared: Arc<Shared> = Arc::default();
        let for_all = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if for_all.lock().ended {
                    return;
                }
                let shared = Arc::clone(&for_all);
                // A process may end in the middle of its request.
                thread::spawn(move || drop(shared.talk(&stream)));
            }
        });
        Self { port, shared }
    }

    /// What stands in `AWS_LAMBDA_RUNTIME_API`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Hands an invocation to the process, with the true moment at which its time is over.
    pub(crate) fn call(&self, payload: &Value, time: Duration) -> Receiver<Outcome> {
        let deadline = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970") + time;
        let (tell, told) = channel();
        let mut state = self.shared.lock();
        state.calls += 1;
        let id = state.calls;
        state.under_way.insert(id, tell);
        state.waiting.push_back(Call { id, payload: payload.to_string().into_bytes(), deadline_ms: deadline.as_millis() });
        self.shared.changed.notify_all();
        told
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        // Wakes the listener; when that fails it is gone already.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one connection to its end.
    fn talk(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut from = BufReader::new(stream);
        while let Some(mut request) = Request::head(&mut from)? {
            request.body = vec![0; request.body_length()];
            from.read_exact(&mut request.body)?;
            match self.answer(&request) {
                Some(answer) => (&mut &*stream).write_all(&answer)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Head and body in one piece: two would wait for each other. None when there is nothing more to say.
    fn answer(&self, request: &Request) -> Option<Vec<u8>> {
        let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        match (request.method.as_str(), &parts[..]) {
            ("GET", ["2018-06-01", "runtime", "invocation", "next"]) => self.next(),
            ("POST", ["2018-06-01", "runtime", "invocation", id, kind @ ("response" | "error")]) => {
                let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
                let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
                let outcome = match *kind {
                    "response" => Outcome::Answered(body),
                    _ => Outcome::Failed(text("errorType"), text("errorMessage")),
                };
                if let Some(tell) = id.parse().ok().and_then(|id: u64| self.lock().under_way.remove(&id)) {
                    // Whoever asked may have given up.
                    drop(tell.send(outcome));
                }
                Some(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec())
            }
            _ => Some(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()),
        }
    }

    fn next(&self) -> Option<Vec<u8>> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.ended;
        let mut state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let call = state.waiting.pop_front()?;
        let head = [
            "HTTP/1.1 200 OK".to_owned(),
            format!("lambda-runtime-aws-request-id: {}", call.id),
            format!("lambda-runtime-deadline-ms: {}", call.deadline_ms),
            "lambda-runtime-invoked-function-arn: arn:aws:lambda:eu-central-1:123456789012:function:test".to_owned(),
            "content-type: application/json".to_owned(),
            format!("content-length: {}\r\n\r\n", call.payload.len()),
        ];
        Some([head.join("\r\n").into_bytes(), call.payload].concat())
    }
}
