//! Restores that other systems order, in one process: what is signed is carried out once, and nothing else is.

use std::{fs, path::Path, process::Command};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
    text,
};

/// A vault with a point of machine `web-01`, whose disk is `os.raw`.
fn backed_up(lab: &Lab) -> Host {
    let host = lab.host_with_vault();
    disk::sparse(&lab.path("os.raw"), 16 * MIB, 3, &[(0, 2 * MIB), (9 * MIB, MIB)]);
    for name in ["web-01", "db-01"] {
        host.add(name, &[("os", &lab.path("os.raw"))]);
        host.backup(name);
    }
    host
}

fn add(host: &Host, lab: &Lab, more: &[&str]) -> String {
    let (key, place) = (lab.arg("portal.pem"), lab.arg("restores"));
    let words = ["requester", "add", "portal", "--new-key", &key, "--machine", "web-01", "--to", &place];
    host.run(&[&words[..], more].concat()).ok();
    key
}

/// Signs an order and writes it to a file.
fn order(host: &Host, lab: &Lab, words: &[&str]) -> String {
    let key = lab.arg("portal.pem");
    let done = host.run(&[&["order"], words, &["--requester", "portal", "--key", &key]].concat()).ok();
    let file = lab.path("order");
    fs::write(&file, &done.stdout).expect("a file can be written");
    file.display().to_string()
}

#[test]
fn an_order_is_carried_out_once() {
    let lab = Lab::new();
    let host = backed_up(&lab);
    let key = add(&host, &lab, &[]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "a key is its owner's alone");
    let file = order(&host, &lab, &["web-01", "--to", &lab.arg("restores/4711")]);
    let report = host.json(&["restore", "--order", &file]);
    disk::assert_same(&lab.path("os.raw"), &lab.path("restores/4711/os.raw"));
    assert_eq!(text(&report, "/order/requester"), "portal");
    let again = host.json(&["restore", "--order", &file]);
    assert_eq!(again["job"], report["job"], "the same order is the same job");
    assert_eq!(host.jobs("restore", "web-01").len(), 1);
    let shown = host.json(&["jobs", "show", text(&report, "/job")]);
    assert_eq!(shown["order"], report["order"], "the job says who ordered it");

    // Nothing is replaced, and the job says why it failed.
    let second = order(&host, &lab, &["web-01", "--to", &lab.arg("restores/4711")]);
    let line = host.fails(&["restore", "--order", &second]);
    assert!(line.contains("os.raw"), "{line}");
    let images = order(&host, &lab, &["web-01", "--to", &lab.arg("restores/images"), "--format", "qcow2"]);
    host.json(&["restore", "--order", &images]);
    assert_eq!(disk::names(&lab.path("restores/images")), ["os.qcow2"]);
}

#[test]
fn an_order_of_another_program_is_taken() {
    let lab = Lab::new();
    let host = backed_up(&lab);
    let (private, public) = (lab.arg("private.pem"), lab.arg("public.pem"));
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &private]);
    openssl(&["pkey", "-in", &private, "-pubout", "-out", &public]);
    let (vault, place) = (host.json(&["vault", "info"]), lab.arg("out"));
    let add = ["requester", "add", "tickets", "--public-key", &public, "--any-machine", "--to", &place];
    host.run(&add).ok();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = |exp: u64| json!({ "iss": "tickets", "aud": vault["vault"], "jti": "INC-1", "iat": now, "exp": exp, "machine": "db-01", "to": place });
    let take = |header: Value, claims: Value| {
        let signed = format!("{}.{}", part(&header), part(&claims));
        let (text, signature) = (lab.path("signed"), lab.path("signature"));
        fs::write(&text, &signed).unwrap();
        openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", &private, "-in", &lab.arg("signed"), "-out", &lab.arg("signature")]);
        let token = format!("{signed}.{}\n", BASE64URL_NOPAD.encode(&fs::read(&signature).unwrap()));
        fs::write(lab.path("token"), token).unwrap();
        host.run(&["--json", "restore", "--order", &lab.arg("token")])
    };
    let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": "1" });
    let expired = take(header.clone(), claims(now - 1)).error();
    assert!(expired.contains("expired"), "{expired}");
    let eternal = take(header.clone(), claims(now + 1_860)).error();
    assert!(eternal.contains("longer than 30 min"), "{eternal}");
    let other = take(json!({ "alg": "none" }), claims(now + 60)).error();
    assert!(other.contains("EdDSA"), "{other}");
    let critical = take(json!({ "alg": "EdDSA", "crit": ["b64"], "b64": false }), claims(now + 60)).error();
    assert!(critical.contains("no order"), "{critical}");
    let mut more = claims(now + 60);
    more["disk"] = json!("os");
    let unknown = take(header.clone(), more).error();
    assert!(unknown.contains("no order"), "{unknown}");
    assert!(!Path::new(&place).exists(), "nothing was written");
    take(header, claims(now + 60)).ok();
    disk::assert_same(&lab.path("os.raw"), &lab.path("out/os.raw"));
}

fn openssl(words: &[&str]) {
    let output = Command::new("openssl").args(words).output().expect("openssl runs");
    assert!(output.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn part(value: &Value) -> String {
    BASE64URL_NOPAD.encode(value.to_string().as_bytes())
}

#[test]
fn what_a_requester_may_not_order_is_refused() {
    let lab = Lab::new();
    let host = backed_up(&lab);
    add(&host, &lab, &[]);
    let refused = |words: &[&str]| host.fails(&["restore", "--order", &order(&host, &lab, words)]);
    let inside = lab.arg("restores/x");
    for (words, told) in [
        (vec!["db-01", "--to", &inside], "may not have machine db-01 restored"),
        (vec!["web-01", "--to", &lab.arg("elsewhere")], "may not have anything written to"),
        (vec!["web-01", "--to", &lab.arg("restores/../elsewhere")], "may not have anything written to"),
        (vec!["web-01", "--to", &inside, "--overwrite"], "may not have anything replaced"),
        (vec!["web-01", "--to", &inside, "--point", "2020-01-01T00:00:00Z"], "at or before"),
    ] {
        let line = refused(&words);
        assert!(line.contains(told), "{line}");
    }
    let good = order(&host, &lab, &["web-01", "--to", &inside]);
    let text = fs::read_to_string(&good).unwrap();
    for (wrong, told) in [("", "no order"), ("a.b", "no order"), ("a.b.c", "no order"), (&text[1..], "no order")] {
        fs::write(&good, wrong).unwrap();
        let line = host.fails(&["restore", "--order", &good]);
        assert!(line.contains(told), "{wrong}: {line}");
    }
    fs::write(&good, "x".repeat(20_000)).unwrap();
    host.fails(&["restore", "--order", &good]);
    fs::write(&good, &text).unwrap();
    host.run(&["requester", "revoke", "portal"]).ok();
    let line = host.fails(&["restore", "--order", &good]);
    assert!(line.contains("revoked"), "{line}");
    assert!(!lab.path("restores").exists(), "nothing was written");
    assert!(host.jobs("restore", "web-01").is_empty() && host.jobs("restore", "db-01").is_empty(), "no job was made");

    let listed = host.json(&["requester", "list"]);
    assert_eq!(listed["requesters"][0]["revoked"], true, "{listed}");
    let line = host.fails(&["requester", "add", "portal", "--new-key", &lab.arg("two.pem"), "--any-machine", "--to", "/srv"]);
    assert!(line.contains("--replace") && !lab.path("two.pem").exists(), "{line}");
    let words = ["requester", "add", "portal", "--new-key", &lab.arg("two.pem"), "--any-machine", "--to", &lab.arg("restores")];
    host.run(&[&words[..], &["--replace"]].concat()).ok();
    let line = host.fails(&["restore", "--order", &good]);
    assert!(line.contains("did not sign"), "with another key: {line}");
    let line = host.fails(&["requester", "add", "other", "--public-key", &lab.arg("os.raw"), "--any-machine", "--to", "/srv"]);
    assert!(line.contains("os.raw"), "{line}");
    let line = host.fails(&["requester", "add", "other", "--new-key", &lab.arg("three.pem"), "--any-machine", "--to", "srv"]);
    assert!(line.contains("no place to write to") && !lab.path("three.pem").exists(), "{line}");
}
