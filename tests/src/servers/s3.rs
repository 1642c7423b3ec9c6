//! Servers that speak S3.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Mutex, Weak},
    thread,
    time::{Duration, Instant},
};

use super::{
    http::{Answer, ask},
    process::{Process, shared, tool},
};
use crate::PATIENCE;

/// Who may do what in SeaweedFS. Requests without a signature may do all, so that a test can look and prepare without signing.
const IDENTITIES: &str = r#"{"identities":[
  {"name":"anonymous","actions":["Admin"]},
  {"name":"owner","credentials":[{"accessKey":"TESTKEY","secretKey":"TESTSECRET"}],"actions":["Admin"]},
  {"name":"reader","credentials":[{"accessKey":"READKEY","secretKey":"READSECRET"}],"actions":["Read","List"]}]}"#;

/// A server that speaks S3.
pub struct S3Server {
    process: Process,
    key: &'static str,
    secret: &'static str,
}

impl S3Server {
    /// Makes a bucket. `headers` go with the request.
    pub fn make_bucket(&self, name: &str, headers: &[(&str, &str)]) {
        let begun = Instant::now();
        loop {
            let answer = self.ask("PUT", &format!("/{name}"), headers);
            if answer.status == 200 {
                return;
            }
            // SeaweedFS listens a moment before all its parts are there.
            assert!(begun.elapsed() < PATIENCE, "bucket {name}: {answer:?}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// One request without a signature.
    pub fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.process.ports[0], method, target, headers, b"").expect("the server answers")
    }

    /// The URL of a prefix in a bucket, with all that is needed to find the server.
    #[must_use]
    pub fn url(&self, place: &str) -> String {
        let port = self.process.ports[0];
        format!("s3://{place}?endpoint=http://127.0.0.1:{port}&region=us-east-1&path_style=true&allow_http=true")
    }

    /// The environment variables that let one in.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, &'static str); 2] {
        [("AWS_ACCESS_KEY_ID", self.key), ("AWS_SECRET_ACCESS_KEY", self.secret)]
    }
}

/// SeaweedFS, a real server: it checks signatures and keeps object locks.
pub fn seaweedfs() -> Arc<S3Server> {
    static SHARED: Mutex<Weak<S3Server>> = Mutex::new(Weak::new());
    let command = |folder: &Path, ports: &[u16]| {
        let config = folder.join("identities.json");
        fs::write(&config, IDENTITIES).expect("a file can be written");
        let mut weed = Command::new(tool("python/bin/weed"));
        // Its own defaults: all interfaces, telemetry, four more services.
        weed.args(["-logtostderr", "mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-webdav=false"]);
        weed.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false", "-admin.ui=false"]);
        weed.arg(format!("-dir={}", folder.display())).arg(format!("-s3.config={}", config.display()));
        let names = ["s3", "master", "volume", "filer", "admin"];
        let names = names.iter().flat_map(|name| [format!("{name}.port"), format!("{name}.port.grpc")]);
        weed.args(names.zip(ports).map(|(name, port)| format!("-{name}={port}")));
        weed
    };
    shared(&SHARED, || S3Server { process: Process::start("seaweedfs", 10, command), key: "TESTKEY", secret: "TESTSECRET" })
}

/// moto, quick and without checks of signatures.
pub fn moto() -> Arc<S3Server> {
    static SHARED: Mutex<Weak<S3Server>> = Mutex::new(Weak::new());
    let command = |_: &Path, ports: &[u16]| {
        let mut moto = Command::new(tool("python/bin/moto_server"));
        moto.args(["-H", "127.0.0.1", "-p", &ports[0].to_string()]);
        moto
    };
    shared(&SHARED, || S3Server { process: Process::start("moto", 1, command), key: "testing", secret: "testing" })
}

/// s3rver, which overwrites where it is asked to create. It has one bucket, `vault`.
pub fn s3rver() -> Arc<S3Server> {
    static SHARED: Mutex<Weak<S3Server>> = Mutex::new(Weak::new());
    let command = |folder: &Path, ports: &[u16]| {
        let mut s3rver = Command::new(tool("node/node_modules/.bin/s3rver"));
        s3rver.arg("-d").arg(folder.join("data")).args(["-a", "127.0.0.1", "-p", &ports[0].to_string()]);
        s3rver.args(["--silent", "--configure-bucket", "vault"]);
        s3rver
    };
    shared(&SHARED, || S3Server { process: Process::start("s3rver", 1, command), key: "S3RVER", secret: "S3RVER" })
}
