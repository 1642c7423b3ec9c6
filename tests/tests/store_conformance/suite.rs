//! The suite.

use bytes::Bytes;
use futures_util::future::join_all;
use stillpoint_model::{ErrorKind, Result};
use stillpoint_store::{Entry, Store};

/// How a call failed, if it did.
pub fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// An object's body in one part.
pub fn body(text: impl Into<Vec<u8>>) -> Vec<Bytes> {
    vec![text.into().into()]
}

async fn creates(store: &Store) {
    store.create("a/first", vec![Bytes::from_static(b"one "), Bytes::new(), Bytes::from_static(b"body")]).await.unwrap();
    assert_eq!(store.get("a/first", 8).await.unwrap(), "one body");
    assert_eq!(kind(store.create("a/first", body("another")).await), Some(ErrorKind::Conflict), "shorter");
    assert_eq!(kind(store.create("a/first", body("two body")).await), Some(ErrorKind::Conflict), "of the same length");
    assert_eq!(store.get("a/first", 8).await.unwrap(), "one body");
    store.create("a/first", body("one body")).await.expect("the same bytes again are the same create");

    let bodies: Vec<String> = (0..16).map(|racer| format!("racer {racer:02}")).collect();
    let outcomes = join_all(bodies.iter().map(|text| store.create("a/race", body(text.clone())))).await;
    let winners: Vec<usize> =
        outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_ok()).map(|(racer, _)| racer).collect();
    assert_eq!(winners.len(), 1, "of 16 creates of one name one succeeds: {outcomes:?}");
    assert!(outcomes.into_iter().filter_map(kind).all(|kind| kind == ErrorKind::Conflict));
    assert_eq!(store.get("a/race", 64).await.unwrap(), bodies[winners[0]]);
}

async fn reads(store: &Store) {
    store.create("b/object", body("0123456789")).await.unwrap();
    assert_eq!(store.get_range("b/object", 0..10).await.unwrap(), "0123456789");
    assert_eq!(store.get_range("b/object", 3..7).await.unwrap(), "3456");
    assert_eq!(store.size("b/object").await.unwrap(), 10);
    for past in [0..11, 9..12, 10..11, 50..60] {
        assert_eq!(kind(store.get_range("b/object", past.clone()).await), Some(ErrorKind::Corrupt), "{past:?}");
    }
    assert_eq!(kind(store.get("b/object", 9).await), Some(ErrorKind::Corrupt), "larger than it may be");
    assert_eq!(kind(store.get("b/nothing", 10).await), Some(ErrorKind::Missing));
    assert_eq!(kind(store.get_range("b/nothing", 0..1).await), Some(ErrorKind::Missing));
    assert_eq!(kind(store.size("b/nothing").await), Some(ErrorKind::Missing));
    assert_eq!(kind(store.get("b", 10).await), Some(ErrorKind::Missing), "a folder is no object");

    store.create("b/empty", Vec::new()).await.unwrap();
    assert_eq!(store.get("b/empty", 0).await.unwrap(), "");
    assert_eq!(kind(store.get_range("b/empty", 0..1).await), Some(ErrorKind::Corrupt));
    // As large as a pack may be.
    let big: Bytes = (0..64_u32 << 18).flat_map(u32::to_le_bytes).collect();
    store.create("b/big", big.chunks(3 << 20).map(|part| big.slice_ref(part)).collect()).await.unwrap();
    assert!(store.get("b/big", 64 << 20).await.unwrap() == big);
    assert_eq!(store.get_range("b/big", 67_108_856..67_108_864).await.unwrap(), big[67_108_856..]);
    assert!(store.get_range("b/big", 1 << 20..33 << 20).await.unwrap() == big[1 << 20..33 << 20]);
    for bad in ["b//x", "b/../x", "b/./x"] {
        assert_eq!(kind(store.create(bad, body("x")).await), Some(ErrorKind::Invalid), "{bad}");
    }
}

async fn deletes(store: &Store) {
    store.create("d/object", body("x")).await.unwrap();
    store.delete("d/object").await.unwrap();
    assert_eq!(kind(store.get("d/object", 1).await), Some(ErrorKind::Missing));
    assert!(store.list("d").await.unwrap().is_empty());
    store.delete("d/object").await.expect("what is gone already counts as deleted");
    store.delete("d/never").await.expect("and so does what never was");
}

async fn lists(store: &Store) {
    let mut names: Vec<String> = (0..1201).map(|number| format!("c/{}/{:04}", number % 7, number * 7919 % 1201)).collect();
    for some in names.chunks(100) {
        join_all(some.iter().map(|name| async { store.create(name, body(&name[4..])).await.unwrap() })).await;
    }
    // A name that begins like the folder and does not lie in it.
    store.create("cc/other", body("x")).await.unwrap();
    names.sort_unstable();
    let listed = store.list("c").await.unwrap();
    assert!(listed.iter().all(|entry| entry.size_bytes == 4));
    assert_eq!(listed.into_iter().map(|entry| entry.name).collect::<Vec<_>>(), names);
    let in_three: Vec<&String> = names.iter().filter(|name| name.starts_with("c/3/")).collect();
    assert_eq!(store.list("c/3").await.unwrap().iter().map(|entry| &entry.name).collect::<Vec<_>>(), in_three);

    store.create("c/direct", body("xyz")).await.unwrap();
    let folder = store.list_folder("c").await.unwrap();
    assert_eq!(folder.folders, ["0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(folder.objects, [Entry { name: "c/direct".to_owned(), size_bytes: 3 }]);
    assert!(store.list("nowhere").await.unwrap().is_empty());
    let nowhere = store.list_folder("nowhere").await.unwrap();
    assert!(nowhere.folders.is_empty() && nowhere.objects.is_empty());
    let whole = store.list("").await.unwrap();
    assert!(whole.len() >= 1203 && whole.is_sorted(), "{} objects", whole.len());
}

/// Tries everything on an empty store.
pub async fn conforms(store: Store) {
    store.probe("probe-1").await.unwrap();
    assert!(store.list("").await.unwrap().is_empty(), "a probe leaves nothing behind");
    creates(&store).await;
    reads(&store).await;
    deletes(&store).await;
    lists(&store).await;
    store.probe("probe-2").await.unwrap();
}
