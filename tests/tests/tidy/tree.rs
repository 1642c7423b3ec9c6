//! The files of the working tree that git has or would take.

use std::{fmt, fs, os::unix::fs::PermissionsExt, process::Command};

use stillpoint_tests::repository;

/// One text file.
pub struct File {
    /// Below the repository's root.
    pub path: String,
    pub text: String,
    pub executable: bool,
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: String,
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

impl File {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), executable: false }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Code that only tests run.
    pub fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs" || part == "testkit" || part.ends_with("_tests.rs"))
    }

    pub fn is_script(&self) -> bool {
        self.text.starts_with("#!/")
    }

    /// Neither generated nor a fixture.
    pub fn is_written_by_hand(&self) -> bool {
        let by_hand = [".rs", ".toml", ".md", ".sh", ".py", ".yml", ".yaml"].iter().any(|end| self.path.ends_with(end));
        (by_hand || self.is_script()) && !self.path.split('/').any(|part| part == "testdata")
    }

    /// A finding in line `index` (counted from 0).
    pub fn finding(&self, index: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line: index + 1, what: what.into() }
    }

    /// The lines before the module of unit tests.
    pub fn production_lines(&self) -> usize {
        let lines: Vec<&str> = self.text.lines().collect();
        let opens_tests = |pair: &[&str]| pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod ");
        lines.windows(2).position(opens_tests).unwrap_or(lines.len())
    }
}

/// All text files, in the order of their names.
pub fn files() -> Vec<File> {
    let mut git = Command::new("git");
    git.current_dir(repository()).args(["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate"]);
    let output = git.output().expect("git is installed");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).expect("names of files are text");
    listed.lines().filter_map(read).collect()
}

/// None for what is deleted in the working tree, and for what is no text.
fn read(path: &str) -> Option<File> {
    let place = repository().join(path);
    let executable = fs::metadata(&place).ok()?.permissions().mode() & 0o111 != 0;
    Some(File { path: path.to_owned(), text: fs::read_to_string(&place).ok()?, executable })
}
