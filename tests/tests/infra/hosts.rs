//! The systemd unit and the container: checked by systemd itself, and for what systemd and a builder would not notice.

use std::{fs, process::Command};

use crate::{stack::functions_of_the_repository, tools};

const UNIT: &str = "infra/systemd/stillpoint-worker@.service";
/// The same functions without a broker, in one process.
const SERVICE: &str = "infra/systemd/stillpoint.service";
const CONTAINERFILE: &str = "infra/container/Containerfile";
/// The path of the program in the unit and in the image.
const PROGRAM: &str = "/usr/local/bin/stillpoint";
/// On the scale of `systemd-analyze security`, 0 (closed) to 10; the network and the disks are what is left.
const EXPOSURE_MAX: &str = "2.0";

/// Runs systemd-analyze on a unit; what it says when it does not like it.
fn complaint(arguments: &[&str], unit: &str) -> Option<String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = folder.path().join("stillpoint-worker@.service");
    // The program is not installed where the tests run, and systemd looks for it.
    fs::write(&place, unit.replace(PROGRAM, "/bin/true")).expect("the folder takes a file");
    let output = Command::new("systemd-analyze").args(arguments).arg(&place).output();
    let output = output.expect("systemd-analyze is missing: run tests/run --install-only");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Unknown settings are only remarked on.
    (!output.status.success() || !said.trim().is_empty()).then(|| format!("{said}{}", String::from_utf8_lossy(&output.stdout)))
}

fn verify(unit: &str) -> Option<String> {
    complaint(&["verify", "--man=no"], unit)
}

fn exposure(unit: &str) -> Option<String> {
    let threshold = format!("--threshold={}", EXPOSURE_MAX.replace('.', ""));
    complaint(&["security", "--offline=true", "--no-pager", &threshold], unit)
}

/// What systemd would take for fine, and an operator would not.
fn faults(unit: &str, own: [&str; 2]) -> Vec<String> {
    let has = |line: &str| unit.lines().any(|one| one == line);
    let wanted = [
        own[0],
        own[1],
        "LoadCredential=vault-key:/etc/stillpoint/vault.key",
        "Environment=STILLPOINT_KEY_FILE=%d/vault-key",
        "Restart=on-failure",
        "KillMode=mixed",
        "User=stillpoint",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
    ];
    wanted.iter().filter(|line| !has(line)).map(|line| format!("the unit lacks {line}")).collect()
}

fn unit_faults(unit: &str) -> Vec<String> {
    let own = [
        "ExecStart=/usr/local/bin/stillpoint worker $STILLPOINT_FUNCTIONS --site %i",
        "EnvironmentFile=/etc/stillpoint/worker.env",
    ];
    let mut faults = faults(unit, own);
    let seconds = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.parse::<u32>().ok());
    if seconds.is_none_or(|seconds| seconds < 300) {
        faults.push("the unit gives too little time to drain".to_owned());
    }
    faults
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let unit = tools::text(UNIT);
    assert_eq!(verify(&unit), None);
    assert_eq!(unit_faults(&unit), Vec::<String>::new());
    let misspelt = verify(&unit.replace("NoNewPrivileges", "NoNewPriviledges")).expect("systemd remarks on it");
    assert!(misspelt.contains("NoNewPriviledges"), "{misspelt}");
    assert_eq!(unit_faults(&unit.replace("Restart=on-failure", "Restart=no")), ["the unit lacks Restart=on-failure"]);
    assert_eq!(unit_faults(&unit.replace("TimeoutStopSec=300", "")), ["the unit gives too little time to drain"]);
}

#[test]
fn the_unit_is_closed() {
    let unit = tools::text(UNIT);
    assert_eq!(exposure(&unit), None);
    let open = unit.replace("ProtectSystem=strict", "").replace("SystemCallFilter=", "#").replace("DevicePolicy=closed", "");
    assert!(exposure(&open).is_some(), "systemd finds an open unit");
}

#[test]
fn the_service_of_one_process_is_as_closed() {
    let service = tools::text(SERVICE);
    let own = ["ExecStart=/usr/local/bin/stillpoint serve", "EnvironmentFile=/etc/stillpoint/serve.env"];
    assert_eq!(verify(&service), None);
    assert_eq!(exposure(&service), None);
    assert_eq!(faults(&service, own), Vec::<String>::new());
    assert_eq!(faults(&service.replace(" serve\n", "\n"), own), [format!("the unit lacks {}", own[0])]);
    let example = tools::text("infra/systemd/serve.env.example");
    for wanted in
        ["STILLPOINT_VAULT=s3://", "STILLPOINT_LOG=info", "#STILLPOINT_WEBHOOK=https://", "AWS_CHECKSUM_ALGORITHM=sha256"]
    {
        assert!(example.lines().any(|line| line.starts_with(wanted)), "{wanted} is missing");
    }
    assert!(!example.contains("STILLPOINT_BROKER"), "`serve` does the work itself");
}

#[test]
fn the_example_of_the_environment_has_what_a_worker_needs() {
    let example = tools::text("infra/systemd/worker.env.example");
    let value = |key: &str| example.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    for key in ["STILLPOINT_VAULT", "STILLPOINT_BROKER", "STILLPOINT_LOG", "AWS_CHECKSUM_ALGORITHM"] {
        assert!(value(key).is_some_and(|value| !value.is_empty()), "{key} is missing");
    }
    let mut functions: Vec<&str> = value("STILLPOINT_FUNCTIONS").expect("it is there").split(' ').collect();
    functions.sort_unstable();
    assert_eq!(functions, functions_of_the_repository());
    assert!(value("STILLPOINT_BROKER").is_some_and(|url| url.starts_with("amqps://") && url.ends_with(":5671/%2F")));
}

/// What is wrong with a Containerfile, as far as can be told without building it.
fn container_faults(containerfile: &str) -> Vec<String> {
    let lines = containerfile.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let instructions: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(' ')).collect();
    let of = |stage: &[(&str, &str)], kind: &str| -> Vec<String> {
        stage.iter().filter(|(instruction, _)| *instruction == kind).map(|(_, rest)| (*rest).to_owned()).collect()
    };
    let last = instructions.iter().rposition(|(instruction, _)| *instruction == "FROM").unwrap_or_default();
    let (build, run) = instructions.split_at(last);
    let rust = tools::text("Cargo.toml")
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = ").map(|v| v.trim_matches('"').to_owned()));
    let image = format!("docker.io/library/rust:{}-", rust.expect("the workspace names its Rust"));
    let is_numbered = |user: &String| user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0));
    let copies = of(run, "COPY");
    let checks = [
        (
            of(build, "FROM").first().is_some_and(|from| from.starts_with(&image)),
            "it is built with another Rust than the workspace's",
        ),
        (
            of(build, "RUN").iter().any(|run| run.starts_with("cargo build --release --locked --package stillpoint ")),
            "the binary",
        ),
        (
            copies.len() == 1 && copies[0].ends_with(&format!(" /source/target/release/stillpoint {PROGRAM}")),
            "one binary is copied",
        ),
        (of(run, "USER").last().is_some_and(is_numbered), "it runs as root, or as a user without a number"),
        (of(run, "ENTRYPOINT") == [format!("[\"{PROGRAM}\"]")], "the entry point is the program, without a shell"),
        (of(run, "RUN").is_empty() && of(run, "ADD").is_empty(), "nothing else is put into the image"),
    ];
    checks.iter().filter(|(fine, _)| !fine).map(|(_, what)| (*what).to_owned()).collect()
}

#[test]
fn the_image_holds_one_program_and_no_root() {
    let containerfile = tools::text(CONTAINERFILE);
    assert_eq!(container_faults(&containerfile), Vec::<String>::new());
    for (right, wrong, what) in [
        ("USER 65532:65532", "USER 0:0", "root"),
        ("USER 65532:65532", "USER nonroot", "root"),
        ("release/stillpoint /usr", "release/stillpoint-transfer /usr", "one binary"),
        ("rust:1.", "rust:0.", "another Rust"),
        ("ENTRYPOINT [\"/usr/local/bin/stillpoint\"]", "ENTRYPOINT /usr/local/bin/stillpoint", "without a shell"),
    ] {
        let faults = container_faults(&containerfile.replace(right, wrong));
        assert!(faults.iter().any(|fault| fault.contains(what)), "{wrong}: {faults:?}");
    }
}
