//! The layers of the design: who may depend on whom, which crate alone may name which library, and what lies at the top of the
//! repository.

use std::{collections::BTreeSet, process::Command};

use cargo_metadata::{DependencyKind, MetadataCommand};
use stillpoint_tests::repository;

/// Every crate of the workspace and its layer. A crate may depend on lower layers only.
const LAYERS: [(&str, u8); 38] = [
    ("stillpoint-model", 0),
    ("stillpoint-events", 1),
    ("stillpoint-files", 1),
    ("stillpoint-nbd", 1),
    ("stillpoint-policy-file", 1),
    ("stillpoint-ports", 1),
    ("stillpoint-format", 1),
    ("stillpoint-handler", 2),
    ("stillpoint-store", 2),
    ("stillpoint-image", 2),
    ("stillpoint-qemu", 2),
    ("stillpoint-system", 2),
    ("stillpoint-kms", 2),
    ("stillpoint-webhook", 2),
    ("stillpoint-staging", 3),
    ("stillpoint-vault", 3),
    ("stillpoint-reader", 4),
    ("stillpoint-jobs", 4),
    ("stillpoint-fleet", 5),
    ("stillpoint-runtime", 5),
    ("stillpoint-broker", 6),
    ("stillpoint-lambda", 7),
    ("stillpoint-snapshot", 8),
    ("stillpoint-transfer", 8),
    ("stillpoint-commit", 8),
    ("stillpoint-restore", 8),
    ("stillpoint-prune", 8),
    ("stillpoint-collect", 8),
    ("stillpoint-verify", 8),
    ("stillpoint-replicate", 8),
    ("stillpoint-notify", 8),
    ("stillpoint-schedule", 8),
    ("stillpoint-testkit", 9),
    ("stillpoint", 9),
    ("stillpoint-bench", 10),
    ("stillpoint-fuzz", 10),
    ("stillpoint-tests", 10),
    ("stillpoint-simulation", 10),
];
const ADAPTERS: [&str; 6] =
    ["stillpoint-store", "stillpoint-image", "stillpoint-qemu", "stillpoint-system", "stillpoint-kms", "stillpoint-webhook"];
const FUNCTIONS: [&str; 10] = [
    "stillpoint-schedule",
    "stillpoint-snapshot",
    "stillpoint-transfer",
    "stillpoint-commit",
    "stillpoint-restore",
    "stillpoint-prune",
    "stillpoint-collect",
    "stillpoint-verify",
    "stillpoint-replicate",
    "stillpoint-notify",
];
/// Libraries that only these crates may name outside their tests.
const RESERVED: [(&str, &[&str]); 12] = [
    ("lambda_runtime", &["stillpoint-lambda"]),
    ("lapin", &["stillpoint-broker", "stillpoint-tests"]),
    ("clap", &["stillpoint"]),
    ("indicatif", &["stillpoint"]),
    ("comfy-table", &["stillpoint"]),
    ("tracing-subscriber", &["stillpoint", "stillpoint-lambda"]),
    // KMS is no store, but takes its credentials from the same chain and signs in the same way, as part of this library.
    ("object_store", &["stillpoint-store", "stillpoint-kms", "stillpoint-testkit"]),
    ("zstd", &["stillpoint-format"]),
    ("toml", &["stillpoint-policy-file"]),
    ("ext4-view", &["stillpoint-files"]),
    ("fatfs", &["stillpoint-files"]),
    ("ntfs", &["stillpoint-files"]),
];
const TOP_LEVEL: [&str; 13] = [
    ".ci",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "events",
    "functions",
    "infra",
    "rustfmt.toml",
    "shared",
    "tests",
];

/// One dependency as a manifest states it.
struct Edge {
    from: String,
    to: String,
    development: bool,
}

impl Edge {
    fn new(from: &str, to: &str, development: bool) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), development }
    }
}

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(known, _)| *known == name).map(|(_, layer)| *layer)
}

/// What is wrong with one dependency.
fn fault(edge: &Edge) -> Option<String> {
    let Edge { from, to, development } = edge;
    let (is_function, is_adapter) =
        (|name: &String| FUNCTIONS.contains(&name.as_str()), |name: &String| ADAPTERS.contains(&name.as_str()));
    if is_function(from) && is_function(to) {
        return Some(format!("{from} -> {to}: functions never depend on each other, not even in tests"));
    }
    if *development {
        return None;
    }
    if let Some((_, allowed)) = RESERVED.iter().find(|(library, _)| library == to)
        && !allowed.contains(&from.as_str())
    {
        return Some(format!("{from} -> {to}: only {} may name it", allowed.join(", ")));
    }
    let (ours, theirs) = (layer(from)?, layer(to)?);
    if theirs >= ours {
        return Some(format!("{from} (layer {ours}) -> {to} (layer {theirs}): dependencies point down the layers only"));
    }
    if is_adapter(from) && !["stillpoint-model", "stillpoint-nbd", "stillpoint-ports"].contains(&to.as_str()) {
        return Some(format!("{from} -> {to}: adapters depend on model, ports and protocols only"));
    }
    if is_adapter(to) && (is_function(from) || from == "stillpoint-jobs") {
        return Some(format!("{from} -> {to}: effects enter through ports"));
    }
    if is_adapter(to) && from == "stillpoint-vault" && to != "stillpoint-store" {
        return Some(format!("{from} -> {to}: the vault knows the store and no other adapter"));
    }
    if to == "stillpoint-testkit" && !["stillpoint-tests", "stillpoint-simulation"].contains(&from.as_str()) {
        return Some(format!("{from} -> {to}: only tests use the test kit"));
    }
    None
}

fn workspace() -> cargo_metadata::Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(repository().join("Cargo.toml")).no_deps();
    command.other_options(["--offline".to_owned(), "--locked".to_owned()]).exec().expect("cargo metadata works without a network")
}

#[test]
fn every_crate_has_a_layer() {
    let workspace = workspace();
    let unknown: Vec<&str> =
        workspace.packages.iter().map(|crate_| crate_.name.as_str()).filter(|name| layer(name).is_none()).collect();
    assert!(unknown.is_empty(), "decide the layer of {unknown:?} and add it to LAYERS in this file");
}

#[test]
fn dependencies_point_down_the_layers() {
    let workspace = workspace();
    let edges = workspace.packages.iter().flat_map(|package| {
        let edge = |to: &cargo_metadata::Dependency| Edge::new(&package.name, &to.name, to.kind == DependencyKind::Development);
        package.dependencies.iter().map(edge).collect::<Vec<_>>()
    });
    let faults: Vec<String> = edges.filter_map(|edge| fault(&edge)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_rules_find_each_kind_of_fault() {
    let bad = [
        ("stillpoint-model", "stillpoint-ports"),
        ("stillpoint-events", "stillpoint-format"),
        ("stillpoint-image", "stillpoint-events"),
        ("stillpoint-vault", "stillpoint-image"),
        ("stillpoint-jobs", "stillpoint-store"),
        ("stillpoint-transfer", "stillpoint-system"),
        ("stillpoint-transfer", "stillpoint-commit"),
        ("stillpoint-runtime", "stillpoint"),
        ("stillpoint-runtime", "stillpoint-testkit"),
        ("stillpoint-jobs", "lapin"),
        ("stillpoint-snapshot", "lambda_runtime"),
        ("stillpoint-runtime", "clap"),
        ("stillpoint-vault", "object_store"),
    ];
    for (from, to) in bad {
        assert!(fault(&Edge::new(from, to, false)).is_some(), "{from} -> {to} is not found");
    }
    assert!(fault(&Edge::new("stillpoint-commit", "stillpoint-restore", true)).is_some(), "functions stay apart in tests too");
    let good = [
        Edge::new("stillpoint-vault", "stillpoint-store", false),
        Edge::new("stillpoint-store", "object_store", false),
        Edge::new("stillpoint-jobs", "stillpoint-testkit", true),
        Edge::new("stillpoint-jobs", "serde", false),
    ];
    for edge in &good {
        assert_eq!(fault(edge), None);
    }
}

/// A function's library knows no host; its `main` is wiring and names one.
#[test]
fn only_mains_of_functions_name_a_host() {
    for function in FUNCTIONS {
        let folder = repository().join("functions").join(function.trim_start_matches("stillpoint-")).join("src");
        for entry in std::fs::read_dir(&folder).expect("a function has sources") {
            let path = entry.expect("a folder can be listed").path();
            let names_host = std::fs::read_to_string(&path).expect("sources are text").contains("stillpoint_lambda");
            let is_main = path.file_name().is_some_and(|name| name == "main.rs");
            assert_eq!(names_host, is_main, "{}: the main of a function, and nothing else, names its host", path.display());
        }
    }
}

#[test]
fn the_default_member_is_the_binary() {
    let workspace = workspace();
    let members: Vec<&str> = workspace.workspace_default_packages().iter().map(|package| package.name.as_str()).collect();
    assert_eq!(members, ["stillpoint"], "`cargo run` at the root runs the product");
}

#[test]
fn the_top_of_the_repository_holds_only_what_is_agreed() {
    let mut git = Command::new("git");
    git.current_dir(repository()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().expect("git is installed");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).expect("names of files are text");
    let tops: BTreeSet<&str> = listed.lines().filter_map(|line| line.split('/').next()).collect();
    let strange: Vec<&&str> = tops.iter().filter(|top| !TOP_LEVEL.contains(top)).collect();
    assert!(strange.is_empty(), "{strange:?} at the top of the repository: it holds only {TOP_LEVEL:?}");
    let missing: Vec<&&str> = TOP_LEVEL.iter().filter(|top| **top != "infra" && !tops.contains(**top)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing at the top of the repository");
}
