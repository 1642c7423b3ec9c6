//! A key service that answers as it is told: what a real one does once in years, and what moto never does.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

/// What it hands out as a data key: 32 bytes, base64.
pub const PLAINTEXT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// The KMS key that it has.
pub const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The call, from `X-Amz-Target`.
    pub call: String,
    /// `Authorization`.
    pub authorization: String,
    /// The body.
    pub body: Value,
}

#[derive(Default)]
struct State {
    refusals: VecDeque<(u16, String)>,
    requests: Vec<Request>,
}

/// See the module. Its thread ends with the test's process.
pub struct Scripted {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Scripted {
    /// A service that answers every request, until it is told to refuse.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it has an address").to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, &shared)));
        Self { address, state }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next requests, as many as there are codes, are refused with them: HTTP status and KMS's code.
    pub fn refuse(&self, refusals: &[(u16, &str)]) {
        let mut state = self.state.lock().expect("no test panics with the lock");
        state.refusals = refusals.iter().map(|(status, code)| (*status, (*code).to_owned())).collect();
    }

    /// What was asked since the last time.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().expect("no test panics with the lock").requests)
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let Some(request) = read(&stream) else { return };
    let call = request.call.clone();
    let refusal = {
        let mut state = state.lock().expect("no test panics with the lock");
        state.requests.push(request);
        state.refusals.pop_front()
    };
    let (status, body) = match refusal {
        Some((status, code)) => (status, json!({ "__type": code, "message": "as it was told" })),
        None if call.ends_with(".GenerateDataKey") => {
            (200, json!({ "KeyId": KEY, "Plaintext": PLAINTEXT, "CiphertextBlob": "YmxvYg==" }))
        }
        None => (200, json!({ "KeyId": KEY, "Plaintext": PLAINTEXT, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT" })),
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // A client that went away is none of the server's business.
    drop(stream.write_all((head + &body).as_bytes()));
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let (mut call, mut authorization, mut length) = (String::new(), String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "x-amz-target" => call = value.to_owned(),
            "authorization" => authorization = value.to_owned(),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { call, authorization, body: serde_json::from_slice(&body).ok()? })
}
