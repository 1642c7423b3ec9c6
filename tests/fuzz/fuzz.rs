//! Every parser of bytes from outside, fed with mutations of real bytes.
//!
//! `cargo test` gives each target a fixed number of inputs from a fixed seed, so it finds the same each time. `tests/fuzz/run`
//! goes on for as long as it is told to, from a random seed, and keeps what is new.
//!
//! Stable Rust tells nothing of coverage. What stands for it is the *class* of a result: accepted, or the message of the refusal
//! without its numbers and quotations. An input of a new class joins the pool that further inputs are made from, and `corpus/`.

mod attempt;
mod campaign;
mod chance;
mod corpus;
mod mutation;
mod scene;
mod sealing;
mod targets;
mod tokens;

use std::sync::{Mutex, PoisonError};

use campaign::Summary;
use peak_alloc::PeakAlloc;
use targets::Target;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Memory is counted for the process: one target at a time.
static TURN: Mutex<()> = Mutex::new(());

fn fuzz(target: &Target) -> Summary {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    campaign::run(target)
}

/// A test for each target, and the list that says there is one.
macro_rules! targets {
    ($($name:ident: $target:expr),* $(,)?) => {
        $(#[test]
        fn $name() {
            let summary = fuzz(&$target);
            println!("{summary}");
            assert!(summary.failures.is_empty(), "{}", summary.failures.join("\n"));
        })*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

targets! {
    pack: targets::pack::OBJECT,
    pack_of_a_writer: targets::pack::SEALED,
    page: targets::page::PAGE,
    manifest: targets::manifest::OBJECT,
    manifest_of_a_writer: targets::manifest::SECTIONS,
    record: targets::record::ENVELOPE,
    record_of_a_writer: targets::record::BODY,
    key_file: targets::keys::KEY_FILE,
    key_slot: targets::keys::KEY_SLOT,
    recovery_key: targets::keys::RECOVERY_KEY,
    event: targets::event::EVENT,
    policy_file: targets::files::POLICY,
    machines_file: targets::files::MACHINES,
    object_name: targets::words::OBJECT_NAME,
    word: targets::words::WORD,
    webhook_secret: targets::words::WEBHOOK_SECRET,
    store_url: targets::words::STORE_URL,
    restore_plan: targets::inner::RESTORE_PLAN,
    restore_marker: targets::inner::RESTORE_MARKER,
    verify_plan: targets::inner::VERIFY_PLAN,
    verify_marker: targets::inner::VERIFY_MARKER,
    census: targets::inner::CENSUS,
    fleet: targets::inner::FLEET,
    image_handle: targets::image::HANDLE,
    nbd_replies: targets::nbd::REPLIES,
    nbd_requests: targets::nbd::REQUESTS,
}

#[test]
fn no_corpus_or_regression_is_without_its_target() {
    for folder in [corpus::CORPUS, corpus::REGRESSIONS] {
        let strays: Vec<String> =
            corpus::names(&corpus::folder(folder)).into_iter().filter(|name| !NAMES.contains(&name.as_str())).collect();
        assert!(strays.is_empty(), "{folder}: {strays:?} are the names of no target");
    }
}
