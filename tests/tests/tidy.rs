//! House rules that neither the compiler nor clippy checks. Each rule is one test, and each check is shown a bad sample, so that
//! no rule can pass by looking at nothing.

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/samples.rs"]
mod samples;
#[path = "tidy/tree.rs"]
mod tree;

use tree::{File, Finding, files};

/// Runs one check over the files it is about.
fn assert_tidy(rule: &str, about: impl Fn(&File) -> bool, check: impl Fn(&File) -> Vec<Finding>) {
    let chosen: Vec<File> = files().into_iter().filter(|file| about(file)).collect();
    assert!(!chosen.is_empty(), "{rule}: no file was looked at");
    let findings: Vec<String> = chosen.iter().flat_map(check).map(|finding| finding.to_string()).collect();
    assert!(findings.is_empty(), "{rule}\n{}\n", findings.join("\n"));
}

#[test]
fn files_are_short() {
    assert_tidy("production code of a file has at most 500 lines", |file| file.is_rust() && !file.is_test(), rules::long_file);
}

#[test]
fn functions_are_short_and_lints_are_on() {
    let is_lint_setting = |file: &File| file.path == "clippy.toml" || file.path.ends_with("Cargo.toml");
    assert_tidy("clippy holds functions to 60 lines and every crate takes the workspace's lints", is_lint_setting, rules::lints);
}

#[test]
fn lints_are_not_switched_off() {
    assert_tidy("code is mended, not excused", File::is_rust, rules::excuses);
}

#[test]
fn files_are_named_by_what_they_hold() {
    assert_tidy("a file or folder is named by what it holds", |_| true, rules::vague_name);
}

#[test]
fn nothing_is_left_for_later() {
    assert_tidy("nothing unfinished is committed", File::is_written_by_hand, rules::unfinished);
}

#[test]
fn no_code_is_commented_out() {
    assert_tidy("git remembers old code", File::is_rust, rules::commented_out);
}

#[test]
fn no_unsafe_code() {
    assert_tidy("all code is safe", File::is_rust, rules::unsafe_code);
}

#[test]
fn dependencies_have_reasons() {
    assert_tidy(
        "every third-party dependency has its reason in the line above",
        |file| file.path == "Cargo.toml",
        rules::unreasoned,
    );
}

#[test]
fn dependencies_are_used() {
    let manifests: Vec<File> = files().into_iter().filter(|file| file.path.ends_with("Cargo.toml")).collect();
    let findings = rules::unused_dependencies(&manifests);
    assert!(findings.is_empty(), "every workspace dependency is some crate's dependency: {findings:?}");
}

#[test]
fn the_project_stands_alone() {
    assert_tidy("the repository names nothing outside it", File::is_written_by_hand, rules::outside_names);
}

#[test]
fn functions_say_what_they_are() {
    let is_function = |file: &File| rules::is_function_library(&file.path);
    assert_tidy("a function's lib.rs opens with its contract", is_function, rules::function_docs);
}

#[test]
fn libraries_open_with_a_table_of_contents() {
    let is_library = |file: &File| file.path.ends_with("src/lib.rs");
    assert_tidy("a lib.rs holds documentation, mod and use lines only", is_library, rules::library_contents);
}

#[test]
fn only_the_binary_prints() {
    let is_quiet = |file: &File| file.is_rust() && !file.is_test() && !file.path.starts_with("functions/standalone/");
    assert_tidy("only functions/standalone prints", is_quiet, rules::printing);
}

#[test]
fn scripts_stop_at_the_first_error() {
    assert_tidy("scripts are executable, and stop at the first error", File::is_script, rules::scripts);
}
