//! A server that speaks Azure Blob Storage.

use std::{
    path::Path,
    process::Command,
    sync::{Arc, Mutex, Weak},
};

use data_encoding::BASE64;
use ring::hmac;

use super::{
    http::{Answer, ask},
    process::{Process, shared, tool},
};

/// The account and key that every Azurite has; public.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Azurite.
pub struct AzureServer {
    process: Process,
}

impl AzureServer {
    /// Makes a container.
    pub fn make_container(&self, name: &str) {
        let target = format!("/{ACCOUNT}/{name}?restype=container&{}", permission());
        let answer = ask(self.process.ports[0], "PUT", &target, &[("x-ms-version", "2021-08-06")], b"");
        assert!(answer.as_ref().is_some_and(|answer| answer.status == 201), "container {name}: {answer:?}");
    }

    /// Reads a blob, by its container and name.
    pub fn blob(&self, name: &str) -> Answer {
        let target = format!("/{ACCOUNT}/{name}?{}", permission());
        ask(self.process.ports[0], "GET", &target, &[("x-ms-version", "2021-08-06")], b"").expect("the server answers")
    }

    /// The URL of a prefix in a container, with all that is needed to find the server.
    #[must_use]
    pub fn url(&self, place: &str) -> String {
        let port = self.process.ports[0];
        format!("az://{place}?account={ACCOUNT}&endpoint=http://127.0.0.1:{port}/{ACCOUNT}&allow_http=true")
    }

    /// The environment variables that let one in.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, &'static str); 1] {
        [("AZURE_STORAGE_ACCOUNT_KEY", KEY)]
    }
}

/// A shared access signature that may do all until long after us.
fn permission() -> String {
    let (version, services, types, may, until) = ("2018-11-09", "b", "sco", "rwdlac", "2099-01-01T00:00:00Z");
    let text = format!("{ACCOUNT}\n{may}\n{services}\n{types}\n\n{until}\n\nhttps,http\n{version}\n");
    let key = BASE64.decode(KEY.as_bytes()).expect("the key is base64");
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), text.as_bytes());
    let signature = BASE64.encode(signature.as_ref()).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("sv={version}&ss={services}&srt={types}&sp={may}&se={until}&spr=https,http&sig={signature}")
}

/// Azurite, Azure Blob Storage on one's own machine.
pub fn azurite() -> Arc<AzureServer> {
    static SHARED: Mutex<Weak<AzureServer>> = Mutex::new(Weak::new());
    let command = |folder: &Path, ports: &[u16]| {
        let mut azurite = Command::new(tool("node/node_modules/.bin/azurite-blob"));
        azurite.args(["--blobHost", "127.0.0.1", "--blobPort", &ports[0].to_string()]).arg("-l").arg(folder);
        // Its own default is to tell the maker.
        azurite.args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
        azurite
    };
    shared(&SHARED, || AzureServer { process: Process::start("azurite", 1, command) })
}
