use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A certificate authority made for one server on 127.0.0.1, and that server's certificate.
pub struct Authority {
    /// The authority's certificate.
    pub certificate: PathBuf,
    /// The server's.
    pub server_certificate: PathBuf,
    /// Its private key.
    pub server_key: PathBuf,
}

impl Authority {
    /// Makes both in `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name).display().to_string();
        let extensions = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n";
        fs::write(folder.join("server.ext"), extensions).expect("a file can be written");
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let ca =
            ["req", "-x509", "-days", "30", "-subj", "/CN=stillpoint tests", "-keyout", &at("ca.key"), "-out", &at("ca.pem")];
        openssl(&[&ca[..], &key[..]].concat());
        let request = ["req", "-subj", "/CN=localhost", "-keyout", &at("server.key"), "-out", &at("server.csr")];
        openssl(&[&request[..], &key[..]].concat());
        let sign = ["x509", "-req", "-days", "30", "-CAcreateserial", "-in", &at("server.csr"), "-out", &at("server.pem")];
        openssl(&[&sign[..], &["-CA", &at("ca.pem"), "-CAkey", &at("ca.key"), "-extfile", &at("server.ext")]].concat());
        let path = |name: &str| folder.join(name);
        Self { certificate: path("ca.pem"), server_certificate: path("server.pem"), server_key: path("server.key") }
    }
}

fn openssl(args: &[&str]) {
    let output = Command::new("openssl").args(args).output().expect("openssl is missing: run tests/run --install-only");
    assert!(output.status.success(), "openssl {}: {}", args[0], String::from_utf8_lossy(&output.stderr));
}
