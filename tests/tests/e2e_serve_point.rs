//! A recovery point served over NBD, to the clients that operators have: QEMU's and libnbd's.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
};

use serde_json::Value;
use stillpoint_tests::{
    Host, Lab, Running,
    disk::{self, MIB},
    servers::{Authority, closed_port},
};

const OS_BYTES: u64 = 200 * MIB;

/// A machine with two disks and one point of it; the first disk is mostly holes.
fn machine(lab: &Lab, host: &Host) -> [PathBuf; 2] {
    let [os, data] = ["os.raw", "data.raw"].map(|name| lab.path(name));
    disk::sparse(&os, OS_BYTES, 1, &[(0, 20 * MIB), (40 * MIB, 65_536), (100 * MIB, 40 * MIB), (OS_BYTES - 65_536, 65_536)]);
    disk::sparse(&data, 8 * MIB + 512, 2, &[(MIB + 512, MIB)]);
    host.add("web-01", &[("os", &os), ("data", &data)]);
    host.backup("web-01");
    [os, data]
}

/// Serves on the lab's socket and waits until that is there.
fn serving(lab: &Lab, host: &Host, more: &[&str]) -> Running {
    let address = format!("unix:{}", lab.arg("nbd"));
    let mut running = host.spawn(&[&["serve-point", "web-01", "--nbd", &address], more].concat());
    assert!(running.reaches(|| lab.path("nbd").exists()), "it serves: {}", running.finish());
    running
}

fn uri(lab: &Lab, disk: &str) -> String {
    format!("nbd+unix:///{disk}?socket={}", lab.arg("nbd"))
}

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program} (tests/run installs it): {error}"))
}

fn works(program: &str, args: &[&str]) -> String {
    let output = run(program, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// (offset, length) of what holds data, as this map of qemu-img or nbdinfo says.
fn data(map: &str, is_data: impl Fn(&Value) -> bool, offset: &str) -> Vec<(u64, u64)> {
    let map: Value = serde_json::from_str(map).expect("a map");
    let parts = map.as_array().expect("a list").iter().filter(|part| is_data(part));
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for part in parts {
        let (offset, length) = (part[offset].as_u64().expect("an offset"), part["length"].as_u64().expect("a length"));
        match joined.last_mut().filter(|(start, before)| start + before == offset) {
            Some(last) => last.1 += length,
            None => joined.push((offset, length)),
        }
    }
    joined
}

#[test]
fn both_disks_are_read_whole_by_several_clients_at_once_and_holes_are_known() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let disks = machine(&lab, &host);
    let served = serving(&lab, &host, &["--cache", "32MiB"]);
    std::thread::scope(|scope| {
        for (name, path) in [("os", &disks[0]), ("data", &disks[1])] {
            let lab = &lab;
            scope.spawn(move || {
                works("qemu-img", &["compare", "-f", "raw", "-F", "raw", &uri(lab, name), path.to_str().expect("text")])
            });
            scope.spawn(move || {
                let copy = lab.path(&format!("{name}-copy.raw"));
                works("nbdcopy", &["--connections=4", &uri(lab, name), copy.to_str().expect("text")]);
                disk::assert_same(path, &copy);
                assert!(disk::allocated(&copy) <= disk::allocated(path) + MIB, "holes stay holes");
            });
        }
    });
    let held = [(0, 20 * MIB), (40 * MIB, 65_536), (100 * MIB, 40 * MIB), (OS_BYTES - 65_536, 65_536)];
    let map = works("qemu-img", &["map", "--output=json", "-f", "raw", &uri(&lab, "os")]);
    assert_eq!(data(&map, |part| part["data"] == true, "start"), held);
    let map = works("nbdinfo", &["--map", "--json", &uri(&lab, "os")]);
    assert_eq!(data(&map, |part| part["type"] == 0, "offset"), held);
    let list: Value = serde_json::from_str(&works("nbdinfo", &["--list", "--json", &uri(&lab, "")])).expect("a list");
    let mut names: Vec<(&str, bool)> = list["exports"]
        .as_array()
        .expect("exports")
        .iter()
        .map(|export| (export["export-name"].as_str().expect("a name"), export["is_read_only"] == true))
        .collect();
    names.sort_unstable();
    assert_eq!(names, [("data", true), ("os", true)]);
    let done = served.terminate().ok();
    assert!(!lab.path("nbd").exists(), "the socket goes with it");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(said.contains(&uri(&lab, "os")) && said.contains("qemu-img convert"), "{said}");
    assert!(done.peak_memory_bytes < 256 * MIB, "a cache of 32 MiB: {done}");
}

/// A client that stays connected, as a guest does.
struct Guest {
    child: Child,
    input: ChildStdin,
    output: BufReader<std::process::ChildStdout>,
}

impl Guest {
    fn connect(lab: &Lab) -> Self {
        let options = format!("driver=nbd,server.type=unix,server.path={},export=os,reconnect-delay=60", lab.arg("nbd"));
        let mut command = Command::new("qemu-io");
        command.args(["-r", "--image-opts", &options]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("qemu-io is installed (tests/run does it)");
        let (input, output) = (child.stdin.take().expect("it has an input"), child.stdout.take().expect("it has an output"));
        Self { child, input, output: BufReader::new(output) }
    }

    fn ask(&mut self, command: &str) {
        writeln!(self.input, "{command}").expect("it takes commands");
    }

    /// The line that says what came of a read.
    fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("it answers") > 0, "it ended");
            if line.contains("read ") && (line.contains("bytes") || line.contains("failed")) {
                return line;
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_guest_waits_for_a_server_that_was_killed_and_comes_back() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    machine(&lab, &host);
    let served = serving(&lab, &host, &[]);
    let mut guest = Guest::connect(&lab);
    guest.ask("read 0 4096");
    assert!(guest.answer().contains("read 4096/4096"));
    assert_eq!(served.kill().signal, Some(9));
    guest.ask("read 104857600 1048576");
    // What the killed one left of its socket is replaced.
    let served = serving(&lab, &host, &[]);
    assert!(guest.answer().contains("read 1048576/1048576"));
    drop(guest);
    served.interrupt().ok();
    fs::write(lab.path("nbd"), "not a socket").expect("a file can be written");
    let line = host.run(&["serve-point", "web-01", "--nbd", &format!("unix:{}", lab.arg("nbd"))]).error();
    assert!(line.contains("cannot listen"), "{line}");
}

#[test]
fn a_vault_that_does_not_answer_is_an_error_for_the_reader_and_not_the_end() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    machine(&lab, &host);
    let served = serving(&lab, &host, &[]);
    let mut guest = Guest::connect(&lab);
    let (packs, away) = (host.vault().join("packs"), lab.path("away"));
    fs::rename(&packs, &away).expect("the packs can be taken away");
    guest.ask("read 0 4096");
    let answer = guest.answer();
    assert!(answer.contains("Input/output error"), "{answer}");
    fs::rename(&away, &packs).expect("the packs can be put back");
    guest.ask("read 0 4096");
    assert!(guest.answer().contains("read 4096/4096"));
    drop(guest);
    let done = served.terminate().ok();
    assert!(done.stderr.contains("disk os"), "the operator is told: {done}");
}

#[test]
fn beyond_this_machine_disks_are_offered_with_tls_or_on_purpose() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    machine(&lab, &host);
    let port = closed_port();
    let everywhere = format!("tcp:0.0.0.0:{port}");
    for (args, said) in [
        (&["--nbd", &everywhere][..], "--insecure"),
        (&["--nbd", "tcp:127.0.0.1"], "HOST:PORT"),
        (&["--nbd", "unix:relative"], "absolute"),
        (&["--nbd", "unix:/no/such/folder/s"], "cannot listen"),
        (&["--nbd", "unix:/tmp/never", "--cache", "1MiB"], "16 MiB at least"),
        (&["--nbd", "unix:/tmp/never", "--tls-key", "/no"], "--tls-certificate"),
        (&["--nbd", "unix:/tmp/never", "--tls-key", "/no", "--tls-certificate", "/no"], "/no"),
    ] {
        let line = host.run(&[&["serve-point", "web-01"], args].concat()).error();
        assert!(line.contains(said), "{args:?}: {line}");
    }
    let folder = lab.path("tls");
    fs::create_dir(&folder).expect("a folder can be made");
    let authority = Authority::new(&folder);
    fs::copy(&authority.certificate, folder.join("ca-cert.pem")).expect("a file can be copied");
    let [certificate, key] = [&authority.server_certificate, &authority.server_key].map(|path| text(path));
    let args = ["serve-point", "web-01", "--nbd", &everywhere, "--tls-certificate", certificate, "--tls-key", key];
    let mut served = host.spawn(&args);
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(served.reaches(listens), "{}", served.finish());
    let uri = |scheme: &str| format!("{scheme}://127.0.0.1:{port}/os?tls-certificates={}", text(&folder));
    assert_eq!(works("nbdinfo", &["--size", &uri("nbds")]).trim(), OS_BYTES.to_string());
    assert!(!run("nbdinfo", &["--size", &uri("nbd")]).status.success(), "not without TLS");
    served.terminate().ok();
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}
