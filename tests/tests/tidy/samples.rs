//! Bad samples: each check finds what it is there for, and only that.

use crate::{
    code::{code_of, has_word},
    rules,
    tree::{File, Finding},
};

fn lines_of(findings: &[Finding]) -> Vec<usize> {
    findings.iter().map(|finding| finding.line).collect()
}

#[test]
fn code_is_told_from_strings_comments_and_characters() {
    let source = "let a = \"x // y\"; // z\nlet b = 'c'; /* d\n/* e */ f */ let g: &'h str = r#\"i\"j\"#;\nlet k = b'\\''; l";
    let code = code_of(source);
    assert_eq!(code.lines().count(), source.lines().count());
    for gone in ["x", "y", "z", "c", "d", "e ", "f", "i", "j"] {
        assert!(!has_word(&code, gone.trim()), "{gone} is no code: {code}");
    }
    for kept in ["a", "b", "g", "h", "str", "k", "l"] {
        assert!(has_word(&code, kept), "{kept} is code: {code}");
    }
}

#[test]
fn a_word_is_whole() {
    assert!(has_word("an unsafe block", "unsafe"));
    assert!(!has_word("unsafe_code and mktemp XXXXXX", "unsafe"));
    assert!(!has_word("mktemp XXXXXX", concat!("X", "XX")));
}

#[test]
fn a_long_file_is_found_and_its_tests_do_not_count() {
    let production = "fn f() {}\n".repeat(500);
    let tests = format!("{production}#[cfg(test)]\nmod tests {{\n{production}}}\n");
    assert_eq!(rules::long_file(&File::new("a.rs", &tests)), []);
    assert_eq!(lines_of(&rules::long_file(&File::new("a.rs", &format!("fn g() {{}}\n{production}")))), [501]);
}

#[test]
fn missing_lints_are_found() {
    assert_eq!(rules::lints(&File::new("clippy.toml", "too-many-lines-threshold = 100")).len(), 1);
    assert_eq!(rules::lints(&File::new("Cargo.toml", "[workspace]")).len(), 4);
    assert_eq!(rules::lints(&File::new("events/Cargo.toml", "[package]")).len(), 1);
    assert_eq!(rules::lints(&File::new("events/Cargo.toml", "[lints]\nworkspace = true\n")), []);
}

#[test]
fn a_lint_switched_off_is_found() {
    let bad = "#[allow(dead_code)]\nfn f() {}\n#[expect(clippy::too_many_lines, reason = \"long\")]\nfn g() {}\n";
    assert_eq!(lines_of(&rules::excuses(&File::new("a.rs", bad))), [1, 3]);
    assert_eq!(rules::excuses(&File::new("a.rs", "// #[allow(dead_code)] is not used here\n")), []);
}

#[test]
fn vague_names_are_found() {
    for path in ["src/utils.rs", "src/helpers/time.rs", "src/common/mod.rs", "src/manager.rs"] {
        assert_eq!(rules::vague_name(&File::new(path, "")).len(), 1, "{path}");
    }
    assert_eq!(rules::vague_name(&File::new("src/helpful.rs", "")), []);
}

#[test]
fn unfinished_work_is_found() {
    let calls = [concat!("to", "do!()"), concat!("un", "implemented!()"), concat!("#[ig", "nore]"), concat!("db", "g!(x)")];
    let words = [concat!("// FIX", "ME later"), concat!("// X", "XX: no"), concat!("# TO", "DO: more")];
    let bad = calls.iter().chain(&words).map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(lines_of(&rules::unfinished(&File::new("a.rs", &bad))), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(rules::unfinished(&File::new("a.rs", "let method = 1; // what to do\n")), []);
}

#[test]
fn commented_out_code_is_found() {
    let bad = "// let x = 1;\n/// Doc that ends so;\n    // if x {\n// prose.\n// }\n";
    assert_eq!(lines_of(&rules::commented_out(&File::new("a.rs", bad))), [1, 3, 5]);
}

#[test]
fn code_that_is_not_safe_is_found() {
    let word = concat!("un", "safe");
    let bad = format!("// {word}\nlet a = \"{word}\";\n{word} {{ f() }}\n");
    assert_eq!(lines_of(&rules::unsafe_code(&File::new("a.rs", &bad))), [3]);
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let bad =
        "[workspace.dependencies]\nours = { path = \"ours\" }\n\n# Why.\na = \"1\"\nb = \"1\"\n\n[profile.dev]\nc = \"1\"\n";
    assert_eq!(lines_of(&rules::unreasoned(&File::new("Cargo.toml", bad))), [6]);
}

#[test]
fn an_unused_dependency_is_found() {
    let root = File::new(
        "Cargo.toml",
        "[workspace.dependencies]\n# Why.\nserde = \"1\"\n# Why.\nserde_json = \"1\"\n# Why.\nurl = \"2\"\n",
    );
    let member = File::new("a/Cargo.toml", "[dependencies]\nserde_json.workspace = true\nurl = { workspace = true }\n");
    assert_eq!(rules::unused_dependencies(&[root, member]), ["serde"]);
}

#[test]
fn names_from_outside_are_found() {
    let bad = format!("see {}/design\nran {}\nfine\n", concat!("../", "shared"), concat!("farm-", "bench"));
    assert_eq!(lines_of(&rules::outside_names(&File::new("README.md", &bad))), [1, 2]);
}

#[test]
fn a_function_without_its_contract_is_found() {
    assert!(rules::is_function_library("functions/commit/src/lib.rs"));
    assert!(!rules::is_function_library("shared/jobs/src/lib.rs"));
    let poor = File::new("functions/commit/src/lib.rs", "//! Consumes events.\nmod a;\n//! emits\n");
    assert_eq!(rules::function_docs(&poor).len(), 4);
    let good = "//! Consumes a, emits b. Idempotency key: c.\n//! Permissions: d. After a crash: e.\n";
    assert_eq!(rules::function_docs(&File::new("functions/commit/src/lib.rs", good)), []);
}

#[test]
fn code_in_a_lib_is_found() {
    let bad = "//! Docs.\n\nmod a;\npub use a::{B, C};\n#[cfg(test)]\npub(crate) mod d;\n\npub fn e() {}\n";
    assert_eq!(lines_of(&rules::library_contents(&File::new("lib.rs", bad))), [8]);
    assert_eq!(lines_of(&rules::library_contents(&File::new("lib.rs", "mod a { use b; }\n"))).len(), 2);
    assert_eq!(lines_of(&rules::library_contents(&File::new("lib.rs", &"mod a;\n".repeat(61)))), [1]);
}

#[test]
fn printing_is_found() {
    let bad = "fn f() {\n    println!(\"x\");\n    eprint!(\"y\"); // print!\n}\nlet a = \"println!\";\n";
    assert_eq!(lines_of(&rules::printing(&File::new("a.rs", bad))), [2, 3]);
    assert_eq!(rules::printing(&File::new("a/build.rs", bad)), []);
}

#[test]
fn a_careless_script_is_found() {
    assert_eq!(rules::scripts(&File::new("run", "#!/usr/bin/env bash\nls\n")).len(), 2);
    let careful = File { executable: true, ..File::new("run", "#!/usr/bin/env bash\nset -euo pipefail\nls\n") };
    assert_eq!(rules::scripts(&careful), []);
}
