//! What a vault rests on, tried on every kind of store that a test can make: one suite, the same for all. Stores that do not keep
//! what they promise are refused by the name of what they lack.

#[cfg(test)]
#[path = "store_conformance/live.rs"]
mod live;
#[cfg(test)]
#[path = "store_conformance/settling.rs"]
mod settling;
#[cfg(test)]
#[path = "store_conformance/suite.rs"]
mod suite;
#[cfg(test)]
#[path = "store_conformance/told.rs"]
mod told;

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use settling::create_with;
use stillpoint_model::{ErrorKind, Result};
use stillpoint_store::{Access, Store};
use stillpoint_testkit::{CallKind, Content, Fault, FaultyStore, Lie, LyingStore, TestClock};
use suite::{conforms, kind};

fn opened(url: &str, access: Access) -> Result<Store> {
    Store::open(url, access, Arc::new(TestClock::new()))
}

#[tokio::test]
async fn memory_conforms() {
    conforms(opened("memory:///", Access::Existing).unwrap()).await;
}

#[tokio::test]
async fn the_test_kit_conforms_and_so_does_a_prefix_in_it() {
    let content = Content::default();
    let over = |prefix: &str| Store::new(Arc::new(FaultyStore::new(content.clone(), 1)), Path::from(prefix), "memory:///");
    conforms(over("some/prefix")).await;
    assert!(content.names().await.unwrap().iter().all(|name| name.starts_with("some/prefix/")));
    assert!(over("some/pre").list("").await.unwrap().is_empty(), "a prefix ends at a slash");
    conforms(Store::new(Arc::new(FaultyStore::new(Content::default(), 2)), Path::default(), "memory:///")).await;
}

#[tokio::test]
async fn a_local_directory_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/made/on/the way", folder.path().display()).replace(' ', "%20");
    assert_eq!(kind(opened(&url, Access::Existing)), Some(ErrorKind::Missing), "only `vault create` makes folders");
    conforms(opened(&url, Access::Create).unwrap()).await;
    assert!(folder.path().join("made/on/the way/a/first").is_file(), "objects are files under their names");
}

#[tokio::test]
async fn stores_that_lie_are_refused_by_the_name_of_what_they_lack() {
    let lies = [
        (Lie::CreateOverwrites, "create-if-absent"),
        (Lie::CreateRaces, "create-if-absent"),
        (Lie::ReadsOther, "read-your-write"),
        (Lie::ListsLate, "list-after-write"),
    ];
    for (lie, ability) in lies {
        let refused = Store::new(Arc::new(LyingStore::new(lie)), Path::default(), "lying:///").probe("probe").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{lie:?}");
        let line = refused.one_line();
        assert!(line.contains(ability) && line.contains("lying:///"), "{lie:?}: {line}");
    }
}

#[tokio::test]
async fn a_create_whose_outcome_is_unknown_is_settled_by_looking() {
    use Fault::{ErrorAfter, ErrorBefore, MetItself, ShortRead};
    let ours = Some(Bytes::from_static(b"ours and long enough"));
    let put_head_get = [CallKind::Put, CallKind::Head, CallKind::Get];
    for fault in [ErrorAfter, MetItself] {
        let (outcome, found, calls) = create_with(&[fault], None).await;
        assert_eq!((outcome, found, calls), (None, ours.clone(), put_head_get.to_vec()), "{fault:?}");
    }
    let (outcome, found, _) = create_with(&[ErrorBefore], None).await;
    assert_eq!((outcome, found), (Some(ErrorKind::Unavailable), None), "it never came to be");
    for theirs in ["theirs", "theirs, just as long"] {
        for faults in [&[ErrorBefore][..], &[ErrorAfter], &[]] {
            let (outcome, found, _) = create_with(faults, Some(theirs)).await;
            assert_eq!((outcome, found), (Some(ErrorKind::Conflict), Some(theirs.into())), "{faults:?}, {theirs}");
        }
    }
    // While nobody can look, nothing is known; to call it a conflict would be a guess.
    for faults in [[ErrorAfter, ErrorBefore].as_slice(), &[MetItself, ErrorBefore], &[MetItself, ErrorBefore, ErrorBefore]] {
        let (outcome, found, _) = create_with(faults, None).await;
        assert_eq!((outcome, found), (Some(ErrorKind::Unavailable), ours.clone()), "{faults:?}");
    }
    let (outcome, ..) = create_with(&[MetItself, ShortRead, ShortRead], None).await;
    assert_eq!(outcome, Some(ErrorKind::Unavailable), "half a look is no look");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_passing_trouble_and_not_damage() {
    let content = Content::default();
    content.replace("name", b"0123456789".to_vec()).await.unwrap();
    let faulty = FaultyStore::new(content.clone(), 4);
    let store = Store::new(Arc::new(faulty.clone()), Path::default(), "memory:///");
    faulty.fault(1, Fault::ShortRead);
    assert_eq!(kind(store.get("name", 10).await), Some(ErrorKind::Unavailable));
    faulty.reset();
    faulty.fault(1, Fault::ShortRead);
    assert_eq!(kind(store.get_range("name", 2..8).await), Some(ErrorKind::Unavailable));
    assert_eq!(store.get_range("name", 2..8).await.unwrap(), "234567");
}
