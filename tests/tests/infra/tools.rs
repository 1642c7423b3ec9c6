//! The programs that these tests call.

use std::{env, path::PathBuf, process::Command};

use serde_json::Value;
use stillpoint_tests::repository;

/// A file of the repository, as text.
pub fn text(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Python that has the packages of tests/tools/requirements.txt.
fn interpreter() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").expect("HOME is set")).join(".cache/stillpoint/tools");
    let tools = env::var_os("STILLPOINT_TEST_TOOLS").map_or_else(home, PathBuf::from);
    let python = tools.join("python/bin/python");
    assert!(python.exists(), "{} is missing: run tests/run --install-only", python.display());
    python
}

/// Runs a script beside this file and reads the JSON it prints.
pub fn python(script: &str, arguments: &[&str]) -> Value {
    let mut command = Command::new(interpreter());
    command.current_dir(repository()).arg(repository().join("tests/tests/infra").join(script)).args(arguments);
    // Else Python leaves compiled copies in the working tree.
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("Python runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} failed; after a change of tests/tools run tests/run --install-only\n{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{script} prints JSON: {error}\n{said}"))
}
