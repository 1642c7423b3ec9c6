//! What a machine's firmware remembers comes back with the machine.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;
use stillpoint_tests::{
    Lab,
    disk::{self, assert_same, full, noise},
    text,
};

use super::{Machine, as_text, machine_with, qemu};

const CODE_BYTES: u64 = 256 << 10;
/// As OVMF has them.
const VARIABLES_BYTES: u64 = 528 << 10;
const FILE: &str = "firmware-variables.fd";

/// The file that a machine's second flash device writes to.
fn flash(machine: &Machine) -> PathBuf {
    let devices = machine.ask("query-block");
    let mut all = devices.as_array().expect("a list").iter();
    let flash = all.find(|device| device["qdev"] == "/machine/system.flash1").expect("it has a second flash");
    assert_eq!(flash["inserted"]["ro"], false);
    flash["inserted"]["file"].as_str().expect("a file").into()
}

/// What a machine is given: code, and variables in a file of this format; and the bytes that the guest finds there.
fn words(lab: &Lab, format: &str, bytes: u64) -> (Vec<String>, PathBuf, PathBuf) {
    let (code, raw, file) = (lab.path("code.fd"), lab.path("expected.fd"), lab.path(&format!("vars.{format}")));
    full(&code, CODE_BYTES, 1);
    fs::write(&raw, noise(2, bytes)).expect("a file can be written");
    qemu("qemu-img", &["convert", "-f", "raw", "-O", format, as_text(&raw), as_text(&file)]);
    let code = format!("if=pflash,unit=0,format=raw,readonly=on,file={}", code.display());
    let variables = match format {
        "raw" => vec!["-drive".to_owned(), format!("if=pflash,unit=1,format=raw,file={}", file.display())],
        _ => vec![
            "-blockdev".to_owned(),
            format!("driver={format},node-name=variables,file.driver=file,file.filename={}", file.display()),
            "-machine".to_owned(),
            "pflash1=variables".to_owned(),
        ],
    };
    ([vec!["-drive".to_owned(), code], variables].concat(), file, raw)
}

fn words_of(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn warnings(of: &Value) -> Vec<&str> {
    of["warnings"].as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

/// Backs up, changes the variables, restores, and starts the restored machine beside the old one.
fn come_back(format: &str) {
    let lab = Lab::new();
    let (words, file, expected) = words(&lab, format, VARIABLES_BYTES);
    let (host, old) = machine_with(&lab, &words_of(&words));
    let point = host.json(&["backup", "db-01"]);
    assert!(host.points("db-01").iter().all(|point| warnings(point).is_empty()), "{point}");
    assert!(old.ask("query-block-exports").as_array().is_some_and(Vec::is_empty), "no export is left");
    old.end();
    fs::write(&file, "others since").expect("a file can be written");

    let folder = lab.path("db-02");
    let restore = ["restore", "db-01", "--to", as_text(&folder), "--format", "qcow2", "--as", "db-02"];
    let report = host.json(&restore);
    let restored = folder.join(FILE);
    assert_eq!(text(&report, "/firmware_variables"), as_text(&restored));
    assert_eq!(warnings(&report), [""; 0]);
    assert_same(&expected, &restored);
    assert_eq!(fs::metadata(&restored).expect("it is there").permissions().mode() & 0o777, 0o600);
    let script = folder.join("start.sh");
    let written = fs::read_to_string(&script).expect("a script is text");
    assert!(!written.contains(as_text(&file)), "{written}");
    let new = Machine::from_script(&script, &folder.join("db-01.qmp"));
    assert_eq!(flash(&new), restored);
    new.end();
    assert_same(&expected, &restored);

    // What the machine has remembered since is not lost by a second time.
    fs::write(&restored, "newer").expect("a file can be written");
    for left in [&["start.sh"][..], &["os.qcow2", "data.qcow2"]] {
        left.iter().for_each(|name| fs::remove_file(folder.join(name)).expect("it is there"));
        let line = host.fails(&restore);
        assert!(line.contains(FILE) && line.contains("--overwrite"), "{line}");
        assert_eq!(fs::read(&restored).expect("it stays"), b"newer");
    }
    host.json(&[&restore[..], &["--overwrite"]].concat());
    assert_same(&expected, &restored);
    let written = disk::names(&folder).into_iter().filter(|name| name.starts_with("firmware"));
    assert_eq!(written.collect::<Vec<_>>(), [FILE], "no draft is left");
}

#[test]
fn variables_in_a_raw_file_come_back() {
    come_back("raw");
}

#[test]
fn variables_in_an_image_come_back_as_the_guest_had_them() {
    come_back("qcow2");
}

#[test]
fn variables_that_are_too_many_are_said_and_the_disks_are_backed_up() {
    let lab = Lab::new();
    let (words, file, _) = words(&lab, "raw", 2 << 20);
    let (host, old) = machine_with(&lab, &words_of(&words));
    assert_eq!(host.run(&["backup", "db-01"]).code, Some(3));
    let points = host.points("db-01");
    assert!(
        matches!(warnings(&points[0])[..], [line] if line.contains(as_text(&file)) && line.contains("too many")),
        "{points:?}"
    );
    let folder = lab.path("db-02");
    let done = host.run(&["restore", "db-01", "--to", as_text(&folder), "--as", "db-02", "--json"]);
    assert_eq!(done.code, Some(3), "{done}");
    let report = done.json();
    assert!(report["firmware_variables"].is_null(), "{report}");
    assert_eq!(warnings(&report), [format!("the new machine writes to {}, as the old one does", file.display())]);
    assert!(!Path::new(&folder.join(FILE)).exists());
    old.end();
}
