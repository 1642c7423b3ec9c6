//! The key service of moto: an emulator of AWS with real cryptography behind its KMS.

use std::{
    env, fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stillpoint_tests::{Lab, text};

/// It is a Python program that imports much before it listens.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running moto; it ends with the value.
pub struct Moto {
    process: Child,
    address: String,
}

fn program() -> PathBuf {
    let tools = env::var_os("STILLPOINT_TEST_TOOLS").map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").expect("HOME is set")).join(".cache/stillpoint/tools");
    let program = tools.unwrap_or_else(home).join("python/bin/moto_server");
    assert!(program.exists(), "{} is not there; run tests/run --install-only", program.display());
    program
}

impl Moto {
    /// Starts it on a free port.
    pub fn start(lab: &Lab) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free");
        let log = fs::File::create(lab.path("moto.log")).expect("a log can be made");
        let mut command = Command::new(program());
        command.args(["-H", "127.0.0.1", "-p", &free.port().to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut moto = Self { process: command.spawn().expect("moto_server starts"), address: free.to_string() };
        let began = Instant::now();
        while TcpStream::connect(&moto.address).is_err() {
            let ended = moto.process.try_wait().expect("it can be asked");
            let said = fs::read_to_string(lab.path("moto.log")).unwrap_or_default();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "moto_server does not listen: {ended:?} {said}");
            thread::sleep(Duration::from_millis(50));
        }
        moto
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Calls KMS as an administrator would.
    fn call(&self, call: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).expect("moto listens");
        let scope = "Credential=test/20260101/eu-central-1/kms/aws4_request, SignedHeaders=host, Signature=00";
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: TrentService.{call}\r\n\
             Authorization: AWS4-HMAC-SHA256 {scope}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).expect("moto reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("moto answers");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
        assert!(head.starts_with("HTTP/1.1 200"), "{call}: {answer}");
        if body.is_empty() { Value::Null } else { serde_json::from_str(body).expect("KMS answers in JSON") }
    }

    /// A new symmetric key; returns its ARN.
    pub fn key(&self) -> String {
        text(&self.call("CreateKey", &json!({})), "/KeyMetadata/Arn").to_owned()
    }

    /// Names a key; returns the alias's ARN.
    pub fn alias(&self, name: &str, key: &str) -> String {
        self.call("CreateAlias", &json!({ "AliasName": format!("alias/{name}"), "TargetKeyId": key }));
        let (account, _) = key.split_once(":key/").expect("an ARN of a key");
        format!("{account}:alias/{name}")
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
