//! The checks. Each takes one file and returns what is wrong with it.

use crate::{
    code::{code_of, has_word},
    tree::{File, Finding},
};

const LINES_MAX: usize = 500;
const CONTENTS_LINES_MAX: usize = 60;
const VAGUE: [&str; 9] = ["utils", "util", "helpers", "helper", "common", "commons", "manager", "managers", "misc"];

/// Findings in the lines of `text` that `fault` names.
fn by_line(file: &File, text: &str, fault: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    text.lines().enumerate().filter_map(|(index, line)| Some(file.finding(index, fault(line)?))).collect()
}

pub fn long_file(file: &File) -> Vec<Finding> {
    let lines = file.production_lines();
    if lines <= LINES_MAX {
        return Vec::new();
    }
    vec![file.finding(LINES_MAX, format!("{lines} lines of production code, at most {LINES_MAX}"))]
}

pub fn lints(file: &File) -> Vec<Finding> {
    let wanted: &[&str] = match file.path.as_str() {
        "clippy.toml" => &["too-many-lines-threshold = 60"],
        "Cargo.toml" => &["unsafe_code = \"forbid\"", "unwrap_used = \"deny\"", "too_many_lines = \"warn\"", "todo = \"deny\""],
        _ => &["[lints]\nworkspace = true"],
    };
    wanted.iter().filter(|line| !file.text.contains(**line)).map(|line| file.finding(0, format!("lacks {line:?}"))).collect()
}

pub fn excuses(file: &File) -> Vec<Finding> {
    let lints = [
        "dead_code",
        "unused)",
        "unused_must_use",
        "clippy::too_many_lines",
        "clippy::unwrap_used",
        "clippy::all",
        "unsafe_code",
    ];
    let switches = ["allow(", "expect("];
    by_line(file, &code_of(&file.text), |line| {
        let attribute = line.contains("#[") || line.contains("#![");
        let excused =
            lints.iter().find(|lint| attribute && switches.iter().any(|switch| line.contains(&format!("{switch}{lint}"))));
        excused.map(|lint| format!("switches {lint} off"))
    })
}

pub fn vague_name(file: &File) -> Vec<Finding> {
    let parts = file.path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    let vague = parts.filter(|part| VAGUE.contains(part));
    vague.map(|part| file.finding(0, format!("'{part}' does not say what is in it"))).collect()
}

pub fn unfinished(file: &File) -> Vec<Finding> {
    // Put together here, so that this file does not contain what it looks for.
    let calls = [concat!("to", "do!"), concat!("un", "implemented!"), concat!("#[ig", "nore"), concat!("db", "g!")];
    let words = [concat!("FIX", "ME"), concat!("X", "XX"), concat!("TO", "DO")];
    by_line(file, &file.text, |line| {
        let call = calls.iter().find(|call| line.contains(**call));
        let word = words.iter().find(|word| has_word(line, word));
        call.or(word).map(|found| format!("'{found}'"))
    })
}

/// A line comment that ends like a statement or a block is taken for code.
pub fn commented_out(file: &File) -> Vec<Finding> {
    by_line(file, &file.text, |line| {
        let comment = line.trim_start().strip_prefix("//")?;
        let is_documentation = comment.starts_with(['/', '!']);
        let looks_like_code = comment.trim_end().ends_with([';', '{', '}']);
        (!is_documentation && looks_like_code).then(|| format!("commented-out code, or prose that ends like it: {}", line.trim()))
    })
}

pub fn unsafe_code(file: &File) -> Vec<Finding> {
    by_line(file, &code_of(&file.text), |line| has_word(line, concat!("un", "safe")).then(|| "not safe".to_owned()))
}

/// The lines of `[workspace.dependencies]`, with their place in the file.
fn workspace_dependencies(text: &str) -> Vec<(usize, &str)> {
    let mut lines = text.lines().enumerate().skip_while(|(_, line)| *line != "[workspace.dependencies]");
    lines.next();
    lines.take_while(|(_, line)| !line.starts_with('[')).collect()
}

pub fn unreasoned(file: &File) -> Vec<Finding> {
    let section = workspace_dependencies(&file.text);
    let of_others = |line: &str| line.contains(" = ") && !line.starts_with('#') && !line.contains("path = ");
    let mut above = "";
    let mut findings = Vec::new();
    for (index, line) in section {
        if of_others(line) && !above.starts_with("# ") {
            findings.push(file.finding(index, format!("no reason in the line above: {line}")));
        }
        above = line;
    }
    findings
}

/// Names in `[workspace.dependencies]` of the root that no other manifest takes.
pub fn unused_dependencies(manifests: &[File]) -> Vec<String> {
    let Some(root) = manifests.iter().find(|file| file.path == "Cargo.toml") else { return vec!["no root manifest".to_owned()] };
    let section = workspace_dependencies(&root.text);
    let names = section.iter().filter(|(_, line)| !line.starts_with('#')).filter_map(|(_, line)| line.split_once(" = "));
    let is_used = |name: &str| {
        let lines = manifests.iter().filter(|file| file.path != "Cargo.toml").flat_map(|file| file.text.lines());
        lines.into_iter().any(|line| line.split(['.', ' ', '=']).next() == Some(name))
    };
    names.map(|(name, _)| name.trim().to_owned()).filter(|name| !is_used(name)).collect()
}

pub fn outside_names(file: &File) -> Vec<Finding> {
    // Put together here, so that this file does not contain what it looks for.
    let names = [
        concat!("../", "shared"),
        concat!("/work/", "shared"),
        concat!("/work/", "main"),
        concat!("/work/", ".library"),
        concat!("farm-", "studio"),
        concat!("farm-", "bench"),
        concat!("`", "issues`"),
        concat!("`", "duplicates`"),
        concat!("issues ", "show"),
    ];
    by_line(file, &file.text, |line| names.iter().find(|name| line.contains(**name)).map(|name| format!("names {name}")))
}

pub fn is_function_library(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["functions", _, "src", "lib.rs"])
}

pub fn function_docs(file: &File) -> Vec<Finding> {
    let opening: Vec<&str> = file.text.lines().take_while(|line| line.starts_with("//!")).collect();
    let docs = opening.join(" ").to_lowercase();
    let wanted = ["consumes", "emits", "idempotency", "permissions", "crash"];
    let missing = wanted.iter().filter(|word| !docs.contains(**word));
    missing.map(|word| file.finding(0, format!("its documentation does not say '{word}'"))).collect()
}

pub fn library_contents(file: &File) -> Vec<Finding> {
    let code = code_of(&file.text);
    let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
    let long =
        (lines > CONTENTS_LINES_MAX).then(|| file.finding(0, format!("{lines} lines of code, at most {CONTENTS_LINES_MAX}")));
    let statements = code.split_inclusive(';').scan(0, |line, statement| {
        let first = *line + statement.chars().take_while(|c| c.is_whitespace()).filter(|c| *c == '\n').count();
        *line += statement.matches('\n').count();
        Some((first, statement.trim()))
    });
    let strange = statements.filter(|(_, statement)| !statement.is_empty() && !is_contents(statement));
    let strange = strange.map(|(index, statement)| {
        let first: String = statement.lines().next().unwrap_or_default().chars().take(60).collect();
        file.finding(index, format!("neither mod nor use: {first}"))
    });
    long.into_iter().chain(strange).collect()
}

/// Whether a statement is `mod x;` or `use x;`, with attributes and visibility before it.
fn is_contents(statement: &str) -> bool {
    let mut rest = statement;
    while rest.starts_with('#') {
        let Some(end) = rest.find(']') else { return false };
        rest = rest[end + 1..].trim_start();
    }
    if let Some(visible) = rest.strip_prefix("pub") {
        let visible = visible.trim_start();
        rest = if visible.starts_with('(') { visible.split_once(')').map_or(visible, |(_, after)| after) } else { visible }
            .trim_start();
    }
    rest.ends_with(';') && (rest.starts_with("use ") || rest.starts_with("mod ") && !rest.contains('{'))
}

pub fn printing(file: &File) -> Vec<Finding> {
    if file.path.ends_with("build.rs") {
        return Vec::new();
    }
    by_line(file, &code_of(&file.text), |line| {
        let macros = ["println!", "eprintln!", "print!", "eprint!"];
        macros.iter().find(|name| line.contains(**name)).map(|name| format!("{name} outside functions/standalone"))
    })
}

pub fn scripts(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.executable {
        findings.push(file.finding(0, "not executable"));
    }
    let is_shell = file.text.lines().next().is_some_and(|line| line.ends_with("bash") || line.ends_with("sh"));
    if is_shell && !file.text.contains("\nset -euo pipefail\n") {
        findings.push(file.finding(0, "lacks 'set -euo pipefail'"));
    }
    findings
}
