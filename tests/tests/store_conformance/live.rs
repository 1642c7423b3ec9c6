//! The suite on servers that others wrote, each in a process of its own.

use std::sync::Arc;

use stillpoint_model::{ErrorKind, Result};
use stillpoint_store::{Access, Environment, Store};
use stillpoint_testkit::TestClock;
use stillpoint_tests::servers::{S3Server, azurite, moto, s3rver, seaweedfs};

use crate::suite::{body, conforms, kind};

pub fn opened_in(url: &str, environment: &Environment) -> Result<Store> {
    Store::open_in(url, Access::Existing, environment, Arc::new(TestClock::new()))
}

/// Opens a store as somebody with just these environment variables.
pub fn open(url: &str, variables: &[(&str, &str)]) -> Store {
    let environment: Environment = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    opened_in(url, &environment).unwrap()
}

fn bucket(server: &S3Server, name: &str) -> Store {
    server.make_bucket(name, &[]);
    open(&server.url(&format!("{name}/some/prefix")), &server.variables())
}

#[tokio::test]
async fn seaweedfs_conforms() {
    conforms(bucket(&seaweedfs(), "suite")).await;
}

#[tokio::test]
async fn moto_conforms() {
    conforms(bucket(&moto(), "suite")).await;
}

#[tokio::test]
async fn azurite_conforms() {
    let server = azurite();
    server.make_container("suite");
    conforms(open(&server.url("suite/some/prefix"), &server.variables())).await;
}

/// What a bucket copies from one prefix to another is there once, and whatever has a name keeps it. One that would overwrite is seen at the
/// first copy, and makes no other.
async fn copies(server: &S3Server, overwrites: bool) {
    for name in ["copies", "elsewhere"] {
        server.make_bucket(name, &[]);
    }
    let at = |place: &str| open(&server.url(place), &server.variables());
    let (one, other) = (at("copies/one"), at("copies/other"));
    let locked = open(&format!("{}&lock_mode=governance&lock_days=1", server.url("copies/locked")), &server.variables());
    assert!(other.is_one_with(&one));
    assert!(![at("elsewhere/one"), locked].iter().any(|store| store.is_one_with(&one) || one.is_one_with(store)));
    for (name, there) in [("free", None), ("taken", Some("other")), ("alike", Some("9876543210"))] {
        one.create(name, body("0123456789")).await.unwrap();
        if let Some(there) = there {
            other.create(name, body(there)).await.unwrap();
            assert_eq!(other.is_one_with(&one), !overwrites);
            if overwrites {
                continue;
            }
        }
        let expected = (name == "taken").then_some(ErrorKind::Conflict);
        assert_eq!(kind(other.copy_from(&one, name, 10).await), expected, "{name}");
        assert_eq!(other.get(name, 10).await.unwrap(), there.unwrap_or("0123456789"), "{name}");
    }
    assert_eq!(kind(other.copy_from(&one, "nothing", 10).await), Some(ErrorKind::Missing));
    one.create("short", body("012")).await.unwrap();
    assert_eq!(kind(other.copy_from(&one, "short", 10).await), Some(ErrorKind::Corrupt));
    assert_eq!(kind(other.get("short", 10).await), Some(ErrorKind::Missing));
}

#[tokio::test]
async fn seaweedfs_copies_and_overwrites_nothing() {
    copies(&seaweedfs(), false).await;
}

#[tokio::test]
async fn moto_copies_over_what_is_there_and_is_not_asked_to() {
    copies(&moto(), true).await;
}

#[tokio::test]
async fn s3rver_is_refused_because_it_overwrites() {
    let server = s3rver();
    let refused = open(&server.url("vault/some/prefix"), &server.variables()).probe("probe").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let line = refused.one_line();
    assert!(line.starts_with("s3://vault/some/prefix cannot hold a vault: it lacks create-if-absent"), "{line}");
}

/// What a create and a read say to somebody with these variables.
async fn told(url: &str, variables: &[(&str, &str)]) -> [(Option<ErrorKind>, String); 2] {
    let store = open(url, variables);
    let (create, read) = (store.create("name", body("x")).await, store.get("name", 10).await);
    [create.err(), read.err()]
        .map(|error| (error.as_ref().map(|error| error.kind()), error.map_or(String::new(), |error| error.one_line())))
}

#[tokio::test]
async fn seaweedfs_says_who_may_not_and_what_is_not_there() {
    let server = seaweedfs();
    server.make_bucket("refusals", &[]);
    let url = server.url("refusals/some");
    let nowhere = told(&server.url("nowhere/some"), &server.variables()).await;
    for (kind, line) in &nowhere {
        assert_eq!(*kind, Some(ErrorKind::Missing), "{line}");
        assert!(line.contains("there is no such bucket"), "{line}");
    }
    for (key, secret) in [("TESTKEY", "WRONGSECRET"), ("WRONGKEY", "TESTSECRET")] {
        for (kind, line) in told(&url, &[("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)]).await {
            assert_eq!(kind, Some(ErrorKind::Denied), "{line}");
            assert!(line.contains("does not accept these credentials") && !line.contains("SECRET"), "{line}");
        }
    }
    let reader = [("AWS_ACCESS_KEY_ID", "READKEY"), ("AWS_SECRET_ACCESS_KEY", "READSECRET")];
    let [(create, line), (read, _)] = told(&url, &reader).await;
    assert_eq!((create, read), (Some(ErrorKind::Denied), Some(ErrorKind::Missing)));
    assert!(line.contains("these credentials may not do that"), "{line}");
}

#[tokio::test]
async fn seaweedfs_keeps_what_was_created_under_a_lock() {
    let server = seaweedfs();
    server.make_bucket("locked", &[("x-amz-bucket-object-lock-enabled", "true")]);
    for mode in ["governance", "compliance"] {
        let url = format!("{}&lock_mode={mode}&lock_days=2", server.url(&format!("locked/{mode}")));
        let store = open(&url, &server.variables());
        store.probe("probe").await.expect("a bucket with object lock can hold a vault");
        store.create("name", body("kept")).await.unwrap();
        assert_eq!(kind(store.create("name", body("new")).await), Some(ErrorKind::Conflict));
        let retention = server.ask("GET", &format!("/locked/{mode}/name?retention"), &[]);
        assert!(retention.body.contains(&format!("<Mode>{}</Mode>", mode.to_uppercase())), "{retention:?}");
        let versions = server.ask("GET", &format!("/locked?versions&prefix={mode}/name"), &[]).body;
        let version = versions.split("<VersionId>").nth(1).and_then(|rest| rest.split('<').next()).expect("a version");
        let deleted = server.ask("DELETE", &format!("/locked/{mode}/name?versionId={version}"), &[]);
        assert_eq!(deleted.status, 403, "{deleted:?}");
        assert_eq!(store.get("name", 10).await.unwrap(), "kept");
    }
    // Where the bucket cannot lock, nothing is written without a lock.
    server.make_bucket("unlocked", &[]);
    let url = format!("{}&lock_mode=compliance&lock_days=2", server.url("unlocked/some"));
    let [(create, line), (read, _)] = told(&url, &server.variables()).await;
    assert_eq!((create, read), (Some(ErrorKind::Invalid), Some(ErrorKind::Missing)), "{line}");
}

#[tokio::test]
async fn azurite_says_who_may_not_and_what_is_not_there() {
    let server = azurite();
    server.make_container("refusals");
    for (kind, line) in told(&server.url("nowhere/some"), &server.variables()).await {
        assert_eq!(kind, Some(ErrorKind::Missing), "{line}");
        assert!(line.contains("there is no such bucket or container"), "{line}");
    }
    for (kind, line) in told(&server.url("refusals/some"), &[("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=")]).await {
        assert_eq!(kind, Some(ErrorKind::Denied), "{line}");
        assert!(line.contains("these credentials") && !line.contains("d3Jvbmc"), "{line}");
    }
}
