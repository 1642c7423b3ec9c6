//! Bad input: one line that says what is wrong, an exit code that is not zero, and nothing half-made left behind.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
    text,
    vault_files::{is_commit, is_pack, objects, objects_of},
};

/// A vault with the machine `web-01`, backed up once.
fn lab_with_a_backup() -> (Lab, Host) {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let path = lab.path("disk.raw");
    disk::full(&path, 2 * MIB, 40);
    host.add("web-01", &[("os", &path)]);
    host.backup("web-01");
    (lab, host)
}

/// Asserts that a command is refused and that the vault has the same objects afterwards.
fn refused(host: &Host, args: &[&str]) -> String {
    let before = objects(host.vault());
    let line = host.fails(args);
    assert_eq!(objects(host.vault()), before, "{args:?} left something behind");
    line
}

/// Asserts that a machine with this disk is refused, at the latest when it is backed up, and that nothing is stored of it.
fn refused_disk(host: &Host, what: &str, disk: &str) {
    let added = host.run(&["--json", "machine", "add", "bad", "--platform", "image", "--disk", disk]);
    let line = if added.code == Some(0) { host.fails(&["backup", "bad"]) } else { added.error() };
    assert!(line.len() <= 600, "{what}: {line}");
    let made = objects_of(host.vault(), |name| (is_commit(name) || is_pack(name)) && name.contains("/bad/"));
    assert_eq!(made, [] as [String; 0], "{what} left something behind");
}

#[test]
fn disks_that_are_none() {
    let (lab, host) = lab_with_a_backup();
    fs::write(lab.path("empty"), b"").expect("a file can be written");
    fs::write(lab.path("odd"), vec![1; 513]).expect("a file can be written");
    std::os::unix::fs::symlink("nowhere", lab.path("dangling")).expect("a link can be made");
    assert!(Command::new("mkfifo").arg(lab.path("pipe")).status().expect("mkfifo runs").success());
    fs::create_dir(lab.path("folder")).expect("a folder can be made");
    for name in ["missing", "empty", "odd", "dangling", "pipe", "folder", "disk.raw/below"] {
        refused_disk(&host, name, &format!("os={}", lab.arg(name)));
    }
    for device in ["/dev/null", "/dev/zero"] {
        refused_disk(&host, device, &format!("os={device}"));
    }
}

#[test]
fn a_disk_that_may_not_be_read() {
    let (lab, host) = lab_with_a_backup();
    let path = lab.path("secret.raw");
    disk::full(&path, MIB, 41);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("the mode can be set");
    refused_disk(&host.without_privileges(), "an unreadable disk", &format!("os={}", path.display()));
}

#[test]
fn a_disk_that_vanished_after_it_was_added() {
    let (lab, host) = lab_with_a_backup();
    fs::remove_file(lab.path("disk.raw")).expect("the disk can be removed");
    host.fails(&["backup", "web-01"]);
    assert_eq!(host.points("web-01").len(), 1, "the old point stays, no new one is made");
}

#[test]
fn disk_arguments_that_say_nothing() {
    let (lab, host) = lab_with_a_backup();
    let path = lab.arg("disk.raw");
    let (twice_a, twice_b) = (format!("os={path}"), format!("os={path}"));
    let cases: [&[&str]; 4] = [&[], &["--disk", "os"], &["--disk", "os="], &["--disk", &twice_a, "--disk", &twice_b]];
    for disks in cases {
        refused(&host, &[&["machine", "add", "bad", "--platform", "image"], disks].concat());
    }
    let good = format!("os={path}");
    refused(&host, &["machine", "add", "bad", "--platform", "abacus", "--disk", &good]);
    for name in ["", "OS", "a/b", "..", ".", "a b", "ü", &"d".repeat(300)] {
        refused(&host, &["machine", "add", "bad", "--platform", "image", "--disk", &format!("{name}={path}")]);
    }
}

#[test]
fn a_machine_is_changed_only_when_told() {
    let (lab, host) = lab_with_a_backup();
    let other = lab.path("other.raw");
    disk::full(&other, MIB, 44);
    let disk = format!("os={}", other.display());
    let line = refused(&host, &["machine", "add", "web-01", "--platform", "image", "--disk", &disk]);
    assert!(line.contains("--replace"), "it says what to do: {line}");
    host.add("web-01", &[("os", &other)]);
    host.backup("web-01");
    host.restores("web-01", "latest", &lab.path("restored"), &[("os", &other)]);
}

#[test]
fn several_backups_of_which_one_cannot_begin() {
    let (lab, host) = lab_with_a_backup();
    let path = lab.path("other.raw");
    disk::full(&path, MIB, 45);
    host.add("web-02", &[("os", &path)]);
    fs::remove_file(&path).expect("the disk can be removed");
    refused(&host, &["backup", "web-01", "web-02"]);
    refused(&host, &["backup", "web-01", "web-01"]);
    assert_eq!(host.points("web-01").len(), 1, "all or nothing");
}

#[test]
fn names_that_are_none() {
    let (lab, host) = lab_with_a_backup();
    let disk = format!("os={}", lab.arg("disk.raw"));
    let (long, folder) = ("n".repeat(300), lab.arg("restored"));
    for name in ["", ".", "..", "../web-01", "a/b", "/", "Web-01", "wéb", "日本", "a b", "a\nb", "\u{1b}[31m", ".hidden", &long]
    {
        refused(&host, &["machine", "add", name, "--platform", "image", "--disk", &disk]);
        refused(&host, &["machine", "show", name]);
        refused(&host, &["backup", name]);
        refused(&host, &["points", name]);
        refused(&host, &["restore", name, "--to", &folder]);
        refused(&host, &["read", name, "--disk", "os", "--offset", "0", "--length", "1"]);
    }
    assert!(!lab.path("restored").exists() || disk::names(&lab.path("restored")).is_empty());
}

#[test]
fn things_that_are_not_there() {
    let (lab, host) = lab_with_a_backup();
    let folder = lab.arg("restored");
    let unknown = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let cases: [&[&str]; 13] = [
        &["machine", "show", "nosuch"],
        &["backup", "nosuch"],
        &["backup", "web-01", "nosuch"],
        &["points", "nosuch"],
        &["restore", "nosuch", "--to", &folder],
        &["restore", "web-01", "--point", unknown, "--to", &folder],
        &["restore", "web-01", "--point", "next tuesday", "--to", &folder],
        &["restore", "web-01", "--point", "", "--to", &folder],
        &["restore", "web-01", "--point", "1999-01-01T00:00:00Z", "--to", &folder],
        &["restore", "web-01", "--disk", &format!("nosuch={folder}")],
        &["jobs", "show", unknown],
        &["jobs", "cancel", unknown],
        &["jobs", "show", "../../vault.json"],
    ];
    for args in cases {
        refused(&host, args);
    }
    assert!(disk::names(&lab.path("restored")).is_empty(), "no target is begun");
}

#[test]
fn ranges_that_are_not_on_the_disk() {
    let (_lab, host) = lab_with_a_backup();
    let read = |disk: &str, offset: &str, length: &str| {
        refused(&host, &["read", "web-01", "--disk", disk, "--offset", offset, "--length", length]);
    };
    read("nosuch", "0", "1");
    read("os", "2097152", "1");
    read("os", "2097151", "2");
    read("os", "18446744073709551615", "1");
    read("os", "0", "18446744073709551615");
    read("os", "one", "1");
}

#[test]
fn commands_that_are_none() {
    let (_lab, host) = lab_with_a_backup();
    for args in [&["frobnicate"][..], &["backup"], &["backup", "web-01", "--frobnicate"], &["restore", "web-01"], &["points"]] {
        let done = host.run(args);
        assert_eq!(done.code, Some(2), "usage: {done}");
        done.error();
    }
    host.run(&["--help"]).ok();
    host.run(&["--version"]).ok();
}

#[test]
fn vaults_that_are_none() {
    let (lab, host) = lab_with_a_backup();
    fs::create_dir(lab.path("empty")).expect("a folder can be made");
    fs::create_dir(lab.path("photos")).expect("a folder can be made");
    fs::write(lab.path("photos/cat.jpg"), b"cat").expect("a file can be written");
    fs::create_dir(lab.path("babble")).expect("a folder can be made");
    fs::write(lab.path("babble/vault.json"), b"{\"hello\": 1}").expect("a file can be written");
    fs::create_dir(lab.path("noise")).expect("a folder can be made");
    fs::write(lab.path("noise/vault.json"), disk::noise(42, MIB)).expect("a file can be written");
    for name in ["empty", "photos", "babble", "noise", "missing", "disk.raw"] {
        let elsewhere = host.at_vault(&lab.path(name));
        let before = objects(elsewhere.vault());
        for args in [&["points", "web-01"][..], &["backup", "web-01"], &["vault", "info"], &["vault", "check"], &["jobs"]] {
            elsewhere.fails(args);
        }
        assert_eq!(objects(elsewhere.vault()), before, "{name} is left as it was");
    }
    assert!(!lab.path("missing").exists(), "no folder is made for a vault that is not there");
    for url in ["", "vault", "ftp://example.org/vault", "http://", "file://", "s3://", "file://host.example/vault", "\u{0}"] {
        if !url.contains('\0') {
            host.fails(&["--vault", url, "points", "web-01"]);
        }
    }
    for limit in ["streams=0", "at=08:00-18:00", "at=8-18,streams=2", "at=08:00-18:00,stream=2", "time_zone=Berlin"] {
        host.fails(&["--vault", &format!("{}?{limit}", host.url()), "points", "web-01"]);
        let (name, value) = limit.split_once('=').expect("a limit");
        let name = if name == "streams" { "STREAMS".to_owned() } else { format!("LIMITS_{}", name.to_ascii_uppercase()) };
        host.set(&format!("STILLPOINT_{name}"), value).fails(&["points", "web-01"]);
    }
}

#[test]
fn clouds_that_do_not_answer() {
    let (_lab, host) = lab_with_a_backup();
    let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_ALLOW_HTTP", "true")];
    let s3 = keys.iter().fold(host.set("AWS_ENDPOINT", "http://127.0.0.1:1"), |host, (name, value)| host.set(name, value));
    s3.fails(&["--vault", "s3://bucket/prefix", "points", "web-01"]);
    s3.fails(&["--vault", "s3://bucket/prefix", "vault", "create"]);
    s3.set("AWS_ENDPOINT", "https://127.0.0.1:1").fails(&["--vault", "s3://bucket/prefix", "points", "web-01"]);
    host.fails(&["--vault", "az://container/prefix", "points", "web-01"]);
}

#[test]
fn results_that_cannot_be_printed() {
    let (lab, host) = lab_with_a_backup();
    let full = host.printing_to_a_full_disk();
    full.fails(&["points", "web-01"]);
    full.fails(&["read", "web-01", "--disk", "os", "--offset", "0", "--length", "4096"]);
    let line = full.at_vault(&lab.path("second")).fails(&["vault", "create"]);
    assert!(line.contains("recovery key"), "it says that nobody has seen the key: {line}");
}

#[test]
fn a_vault_of_a_newer_format() {
    let (_lab, host) = lab_with_a_backup();
    let path = host.vault().join("vault.json");
    let mut bytes = fs::read(&path).expect("vault.json can be read");
    let word = bytes.windows(7).position(|window| window == b"version").expect("vault.json names its version");
    let digit = bytes[word..].iter().position(u8::is_ascii_digit).expect("the version is a number");
    bytes[word + digit] = b'9';
    fs::write(&path, bytes).expect("vault.json can be written");
    for args in [&["points", "web-01"][..], &["backup", "web-01"], &["vault", "info"]] {
        host.fails(args);
    }
}

#[test]
fn a_vault_is_not_made_twice() {
    let (lab, host) = lab_with_a_backup();
    refused(&host, &["vault", "create"]);
    refused(&lab.host("second"), &["vault", "create"]);
    assert_eq!(host.points("web-01").len(), 1);
    assert!(disk::names(&lab.path("hosts/second")).is_empty(), "no key is left for a vault that was not made");
}

#[test]
fn a_recovery_key_does_not_overwrite_a_file() {
    let lab = Lab::new();
    let host = lab.host("first");
    fs::write(lab.path("letter"), b"dear").expect("a file can be written");
    host.fails(&["vault", "create", "--recovery-key-file", &lab.arg("letter")]);
    assert_eq!(fs::read(lab.path("letter")).expect("the letter is there"), b"dear");
    assert!(!lab.path("vault/vault.json").exists(), "no vault whose recovery key nobody has");
    host.fails(&["vault", "create", "--recovery-key-file", &lab.arg("no/such/folder/key")]);
    host.at_vault(&lab.path("a/folder/vault")).fails(&["vault", "create", "--recovery-key-file", &lab.arg("letter")]);
    assert!(!lab.path("no").exists() && !lab.path("a").exists(), "no folder is left behind");
    assert!(!lab.path("vault/vault.json").exists(), "no vault whose recovery key nobody has");
    host.create();
}

#[test]
fn keys_that_do_not_fit() {
    let (lab, host) = lab_with_a_backup();
    let other = lab.host("other").at_vault(&lab.path("other-vault"));
    let created = other.create();
    let (foreign_key, foreign_recovery) = (text(&created, "/key_file").to_owned(), text(&created, "/recovery_key").to_owned());
    fs::write(lab.path("empty.key"), b"").expect("a file can be written");
    fs::write(lab.path("noise.key"), disk::noise(43, MIB)).expect("a file can be written");
    let clean = lab.host("clean");
    for key in [
        foreign_key.as_str(),
        &lab.arg("empty.key"),
        &lab.arg("noise.key"),
        &lab.arg("missing.key"),
        &lab.arg("vault"),
        "/dev/null",
    ] {
        refused(&clean, &["--key-file", key, "points", "web-01"]);
        refused(&clean, &["--key-file", key, "restore", "web-01", "--to", &lab.arg("restored")]);
        refused(&clean, &["vault", "open", "--key-file", key]);
    }
    for key in [foreign_recovery.as_str(), "", "AAAA", "not a key", &"A".repeat(10_000)] {
        refused(&clean, &["vault", "open", "--recovery-key", key]);
    }
    refused(&clean, &["points", "web-01"]);
    assert!(disk::names(&lab.path("restored")).is_empty(), "no target is begun");
    assert_eq!(host.points("web-01").len(), 1);
}

#[test]
fn a_key_that_others_can_read_is_warned_about() {
    let (lab, host) = lab_with_a_backup();
    let folder = host.home().join(".config/stillpoint");
    let key = folder.join(&disk::names(&folder)[0]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("the mode can be set");
    let done = host.run(&["--json", "points", "web-01"]).ok();
    assert!(done.stderr.to_lowercase().contains("warning") && done.stderr.contains(&*key.to_string_lossy()), "a warning: {done}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("the mode can be set");
    let done = host.run(&["--json", "points", "web-01"]).ok();
    assert_eq!(done.stderr, "", "no warning any more");
    drop(lab);
}

#[test]
fn a_restore_overwrites_only_when_told() {
    let (lab, host) = lab_with_a_backup();
    let (folder, target) = (lab.arg("restored"), lab.path("restored/os.raw"));
    fs::create_dir(lab.path("restored")).expect("a folder can be made");
    fs::write(&target, b"precious").expect("a file can be written");
    refused(&host, &["restore", "web-01", "--to", &folder]);
    let to_file = format!("os={}", target.display());
    refused(&host, &["restore", "web-01", "--disk", &to_file]);
    assert_eq!(fs::read(&target).expect("the file is there"), b"precious");
    assert_eq!(disk::names(&lab.path("restored")), ["os.raw"]);

    host.json(&["restore", "web-01", "--to", &folder, "--overwrite"]);
    disk::assert_same(&lab.path("disk.raw"), &target);
    assert_eq!(disk::names(&lab.path("restored")), ["os.raw"]);

    let chosen = format!("os={}", lab.arg("chosen.img"));
    host.json(&["restore", "web-01", "--disk", &chosen]);
    disk::assert_same(&lab.path("disk.raw"), &lab.path("chosen.img"));
    refused(&host, &["restore", "web-01", "--to", &lab.arg("disk.raw")]);
    refused(&host, &["restore", "web-01", "--disk", &format!("os={}", Path::new("/dev/null").display()), "--overwrite"]);
}
