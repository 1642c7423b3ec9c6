//! An S3 server that misbehaves as it is told.

use std::{
    collections::VecDeque,
    io::{self, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use socket2::SockRef;

use super::{
    http::Request,
    objects::{Objects, Reply},
};

/// What the server does with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// What it should.
    Serve,
    /// Refuses with this status, code and further XML; without a body where the code is empty.
    Refuse(u16, &'static str, &'static str),
    /// Does what it should, and says that it did not.
    ServeAndRefuse(u16, &'static str),
    /// Does what it should and closes the connection without a word.
    ServeAndClose,
    /// Does what it should and resets the connection.
    ServeAndReset,
    /// Sends half of the body, with or without the mark by which a client can ask for the other half.
    Half {
        /// Whether there is an `ETag`.
        marked: bool,
    },
}

#[derive(Default)]
struct State {
    objects: Mutex<Objects>,
    script: Mutex<VecDeque<Act>>,
    always: Mutex<Option<Act>>,
    /// Requests of each ten that are refused, and how many there were.
    slow_down: Mutex<(usize, usize)>,
    requests: Mutex<Vec<Request>>,
    delay: Mutex<Duration>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    ended: AtomicBool,
}

/// The server, with one bucket whatever its name.
pub struct ScriptedS3 {
    port: u16,
    state: Arc<State>,
}

impl ScriptedS3 {
    /// A server that behaves.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it listens; nothing about it is a default")]
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("a listener has a port").port();
        let state: Arc<State> = Arc::default();
        let for_all = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if for_all.ended.load(SeqCst) {
                    return;
                }
                let state = Arc::clone(&for_all);
                // Clients come and go as they like.
                thread::spawn(move || drop(state.talk(&stream)));
            }
        });
        Self { port, state }
    }

    /// The URL of a prefix in a bucket; more parameters can follow.
    #[must_use]
    pub fn url(&self, place: &str) -> String {
        format!("s3://{place}?endpoint=http://127.0.0.1:{}&region=eu-central-1&path_style=true&allow_http=true", self.port)
    }

    /// What it does with the next requests, one after the other.
    pub fn next(&self, acts: &[Act]) {
        lock(&self.state.script).extend(acts);
    }

    /// What it does with every request from now on that the script does not mention.
    pub fn always(&self, act: Act) {
        *lock(&self.state.always) = Some(act);
    }

    /// From now on so many of each ten requests are refused with 503, spread over the ten.
    pub fn slow_down(&self, of_ten: usize) {
        *lock(&self.state.slow_down) = (of_ten, 0);
    }

    /// How long it thinks about every request.
    pub fn delay(&self, delay: Duration) {
        *lock(&self.state.delay) = delay;
    }

    /// Its objects.
    pub fn objects(&self) -> MutexGuard<'_, Objects> {
        lock(&self.state.objects)
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut lock(&self.state.requests))
    }

    /// Most requests that were under way at once.
    #[must_use]
    pub fn most_under_way(&self) -> usize {
        self.state.most_under_way.load(SeqCst)
    }
}

impl Drop for ScriptedS3 {
    fn drop(&mut self) {
        self.state.ended.store(true, SeqCst);
        // Wakes the listener; when that fails it is gone already.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn lock<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Serves one connection to its end.
    fn talk(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut from = BufReader::new(stream);
        while let Some(mut request) = Request::head(&mut from)? {
            request.body = vec![0; request.body_length()];
            from.read_exact(&mut request.body)?;
            let now = self.under_way.fetch_add(1, SeqCst) + 1;
            self.most_under_way.fetch_max(now, SeqCst);
            let delay = *lock(&self.delay);
            thread::sleep(delay);
            let answer = self.act(&request);
            self.under_way.fetch_sub(1, SeqCst);
            let is_head = request.method == "HEAD";
            lock(&self.requests).push(Request { body: Vec::new(), ..request });
            match answer {
                End::Reply(reply) => send(stream, &reply, is_head, 0)?,
                End::HalfOf(reply) => {
                    send(stream, &reply, is_head, reply.body.len().div_ceil(2))?;
                    return Ok(());
                }
                End::Close => return Ok(()),
                End::Reset => return SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            }
        }
        Ok(())
    }

    fn refusal(&self) -> Option<Act> {
        let mut slow_down = lock(&self.slow_down);
        slow_down.1 += 1;
        (slow_down.1 * slow_down.0 % 10 < slow_down.0).then_some(Act::Refuse(503, "SlowDown", ""))
    }

    fn act(&self, request: &Request) -> End {
        let scripted = lock(&self.script).pop_front().or(*lock(&self.always));
        let act = scripted.or_else(|| self.refusal()).unwrap_or(Act::Serve);
        if let Act::Refuse(status, code, more) = act {
            return End::Reply(Reply::refusal(status, code, more));
        }
        let mut reply = lock(&self.objects).serve(request);
        match act {
            Act::ServeAndRefuse(status, code) => End::Reply(Reply::refusal(status, code, "")),
            Act::ServeAndClose => End::Close,
            Act::ServeAndReset => End::Reset,
            Act::Half { marked } => {
                reply.headers.retain(|(name, _)| marked || *name != "etag");
                End::HalfOf(reply)
            }
            _ => End::Reply(reply),
        }
    }
}

/// How the server ends with one request.
enum End {
    Reply(Reply),
    HalfOf(Reply),
    Close,
    Reset,
}

/// Sends a reply without the last `held_back` bytes of its body.
fn send(mut to: &TcpStream, reply: &Reply, is_head: bool, held_back: usize) -> io::Result<()> {
    let mut bytes = format!("HTTP/1.1 {} Told\r\ncontent-length: {}\r\n", reply.status, reply.body.len()).into_bytes();
    for (name, value) in &reply.headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    if !is_head {
        bytes.extend_from_slice(&reply.body[..reply.body.len() - held_back]);
    }
    // In one piece: two would wait for each other.
    to.write_all(&bytes)
}
