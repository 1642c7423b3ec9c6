//! The programs that are put on Lambda.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::binary::built;

/// The functions that run on Lambda.
const FUNCTIONS: [&str; 6] = ["schedule", "snapshot", "transfer", "commit", "restore", "notify"];

/// The bootstrap of a function, of the working tree; all are built together, once per test process.
#[must_use]
pub fn bootstrap(function: &str) -> &'static Path {
    static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();
    let all = BUILT.get_or_init(|| {
        let packages = FUNCTIONS.map(|name| format!("stillpoint-{name}"));
        let mut choice: Vec<&str> = packages.iter().flat_map(|package| ["--package", package.as_str()]).collect();
        choice.push("--bins");
        built(&choice)
    });
    all.get(function).unwrap_or_else(|| panic!("there is no function {function}"))
}

/// What a function is told by its environment, beside what Lambda tells it.
#[derive(Debug, Clone, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// The same, with one more variable.
    #[must_use]
    pub fn set(&self, name: &str, value: &str) -> Self {
        let mut more = self.clone();
        more.0.retain(|(known, _)| known != name);
        more.0.push((name.to_owned(), value.to_owned()));
        more
    }

    /// A program that sees these variables, those that Lambda sets, and nothing of this process.
    pub(crate) fn program(&self, program: &Path, function: &str) -> Command {
        let mut command = Command::new("env");
        command.args(["-i", "PATH=/usr/bin:/bin", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST"]);
        command.arg(format!("AWS_LAMBDA_FUNCTION_NAME={function}"));
        if self.0.iter().all(|(name, _)| name != "AWS_LAMBDA_FUNCTION_MEMORY_SIZE") {
            command.arg("AWS_LAMBDA_FUNCTION_MEMORY_SIZE=2048");
        }
        command.args(self.0.iter().map(|(name, value)| format!("{name}={value}"))).arg(program);
        command
    }
}
