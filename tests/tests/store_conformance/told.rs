//! The suite, lost answers and refusals on the server that misbehaves as it is told.

use std::time::Duration;

use futures_util::future::join_all;
use stillpoint_model::{ErrorKind, Result};
use stillpoint_store::{Environment, Store};
use stillpoint_tests::servers::{Act, ScriptedS3, closed_port};

use crate::{
    live::{open, opened_in},
    suite::{body, conforms, kind},
};

const VARIABLES: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIATOLD"), ("AWS_SECRET_ACCESS_KEY", "TOLDSECRET")];

fn server_and_store() -> (ScriptedS3, Store) {
    let server = ScriptedS3::new();
    let store = open(&server.url("bucket/p"), &VARIABLES);
    (server, store)
}

#[tokio::test]
async fn the_told_server_conforms_when_it_behaves() {
    let (_server, store) = server_and_store();
    conforms(store).await;
}

#[tokio::test]
async fn a_create_through_trouble_is_ours_or_a_conflict_or_unknown_and_never_lost() {
    use Act::{Refuse, Serve, ServeAndClose, ServeAndRefuse, ServeAndReset};
    let slow = Refuse(503, "SlowDown", "");
    let late = ServeAndRefuse(500, "InternalError");
    let cases: [(&str, &[Act], usize); 9] = [
        ("nothing", &[], 1),
        ("500 before it was done", &[Refuse(500, "InternalError", "")], 2),
        ("slow down, three times", &[slow, slow, slow], 4),
        ("500 after it was done", &[late], 4),
        ("500 after it was done, twice", &[late, late], 5),
        ("closed after it was done", &[ServeAndClose], 4),
        ("reset after it was done", &[ServeAndReset], 3),
        ("409 after it was done", &[ServeAndRefuse(409, "ConditionalRequestConflict")], 3),
        ("slow down, then the settling is told so too", &[late, Serve, slow, Serve, slow], 6),
    ];
    let (server, store) = server_and_store();
    for (number, (what, acts, requests)) in cases.into_iter().enumerate() {
        let (free, taken) = (format!("free-{number}"), format!("taken-{number}"));
        server.next(acts);
        assert_eq!(kind(store.create(&free, body("ours and ours")).await), None, "{what}");
        let seen: Vec<String> = server.requests().iter().map(|request| request.method.clone()).collect();
        assert_eq!(seen.len(), requests, "{what}: {seen:?}");
        server.objects().replace(&format!("p/{taken}"), b"not from us!!");
        server.next(acts);
        assert_eq!(kind(store.create(&taken, body("ours and ours")).await), Some(ErrorKind::Conflict), "{what}");
        server.requests();
        let objects = server.objects();
        assert_eq!(objects.get(&format!("p/{free}")), Some(&b"ours and ours"[..]), "{what}");
        assert_eq!(objects.get(&format!("p/{taken}")), Some(&b"not from us!!"[..]), "{what}");
    }
    server.next(&[Refuse(409, "ConditionalRequestConflict", "")]);
    let unknown = store.create("unknown", body("x")).await;
    assert_eq!(kind(unknown), Some(ErrorKind::Unavailable), "taken by nobody: to be tried again, and no conflict");
}

#[tokio::test]
async fn half_an_answer_is_completed_or_reported_and_never_returned() {
    let (server, store) = server_and_store();
    store.create("name", body("0123456789")).await.unwrap();
    for _ in 0..2 {
        server.next(&[Act::Half { marked: true }]);
        assert_eq!(store.get("name", 10).await.unwrap(), "0123456789");
        server.next(&[Act::Half { marked: true }, Act::Half { marked: true }]);
        assert_eq!(store.get_range("name", 2..9).await.unwrap(), "2345678");
    }
    server.next(&[Act::Half { marked: false }]);
    assert_eq!(kind(store.get("name", 10).await), Some(ErrorKind::Unavailable));
    server.next(&[Act::Half { marked: false }]);
    assert_eq!(kind(store.get_range("name", 2..9).await), Some(ErrorKind::Unavailable));
    server.next(&[Act::Half { marked: false }]);
    assert_eq!(kind(store.list("").await), Some(ErrorKind::Unavailable), "never a short list");
    server.next(&[Act::Serve, Act::Serve, Act::ServeAndRefuse(503, "SlowDown"), Act::Serve]);
    store.get("name", 10).await.unwrap();
    store.size("name").await.unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 1, "told to slow down, and listed then");
}

/// The errors of every kind of call.
async fn all_calls(store: &Store) -> Vec<Result<()>> {
    let mut outcomes = vec![store.create("name", body("x")).await];
    outcomes.push(store.get("name", 10).await.map(drop));
    outcomes.push(store.get_range("name", 0..1).await.map(drop));
    outcomes.push(store.list("").await.map(drop));
    outcomes.push(store.list_folder("").await.map(drop));
    outcomes.push(store.delete("name").await);
    outcomes
}

#[tokio::test]
async fn what_the_store_refuses_has_a_kind_and_a_line_that_says_what_to_do() {
    use ErrorKind::{Denied, Invalid, Missing};
    let region = "<Region>eu-west-1</Region>";
    let secrets = "<AWSAccessKeyId>AKIATOLD</AWSAccessKeyId><StringToSign>AWS4-HMAC TOLDSECRET</StringToSign>";
    let cases = [
        (Act::Refuse(404, "NoSuchBucket", ""), Missing, "make it first"),
        (Act::Refuse(403, "AccessDenied", secrets), Denied, "may not do that"),
        (Act::Refuse(403, "", ""), Denied, "may not do that"),
        (Act::Refuse(403, "SignatureDoesNotMatch", secrets), Denied, "does not accept these credentials"),
        (Act::Refuse(403, "InvalidAccessKeyId", secrets), Denied, "does not accept these credentials"),
        (Act::Refuse(400, "ExpiredToken", secrets), Denied, "does not accept these credentials"),
        (Act::Refuse(403, "RequestTimeTooSkewed", secrets), Denied, "clock"),
        (Act::Refuse(301, "PermanentRedirect", ""), Invalid, "another region"),
        (Act::Refuse(400, "AuthorizationHeaderMalformed", region), Invalid, "region eu-west-1"),
        (Act::Refuse(400, "KMS.DisabledException", ""), Denied, "encryption key"),
        (Act::Refuse(400, "InvalidRequest", ""), Invalid, "InvalidRequest, Told by a test."),
    ];
    let (server, store) = server_and_store();
    for (act, expected, words) in cases {
        server.always(act);
        let mut outcomes = all_calls(&store).await;
        if expected != Missing {
            // A look does not tell a missing bucket from a missing object.
            outcomes.push(store.size("name").await.map(drop));
        }
        for error in outcomes.into_iter().map(Result::unwrap_err) {
            let line = error.one_line();
            assert_eq!(error.kind(), expected, "{act:?}: {line}");
            assert!(line.contains(words) && line.starts_with("cannot "), "{act:?}: {line}");
            assert!(!line.contains("TOLD") && !line.contains('\n') && line.len() < 500, "{act:?}: {line}");
        }
    }
    assert!(server.requests().len() <= cases.len() * 10, "what can never succeed is not tried again");
}

#[tokio::test]
async fn a_store_that_only_says_slow_down_is_unavailable_in_a_bounded_time() {
    let (server, store) = server_and_store();
    server.always(Act::Refuse(503, "SlowDown", ""));
    let error = store.get("name", 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.one_line().contains("SlowDown"), "{}", error.one_line());
    assert_eq!(server.requests().len(), 6, "once, and five times again");
}

#[tokio::test]
async fn settings_of_the_url_go_with_every_create_signed_and_with_nothing_else() {
    let server = ScriptedS3::new();
    let more = "&sse=aws:kms&kms_key=alias/vault&bucket_key=true&checksum=sha256&lock_mode=compliance&lock_days=30";
    let store = open(&format!("{}{more}", server.url("bucket/p")), &VARIABLES);
    store.create("name", body("x")).await.unwrap();
    assert_eq!(store.get("name", 1).await.unwrap(), "x");
    let requests = server.requests();
    let (create, read) = (&requests[0], &requests[1]);
    for (name, value) in [
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-server-side-encryption-aws-kms-key-id", "alias/vault"),
        ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
        ("x-amz-checksum-sha256", "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE="),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("if-none-match", "*"),
    ] {
        assert_eq!(create.header(name), Some(value), "{name}");
        let signed = create.header("authorization").unwrap_or_default();
        assert!(signed.contains(name) || name == "if-none-match", "{name} is not signed: {signed}");
        assert_eq!(read.header(name), None, "{name} has no place in a read");
    }
    let until = create.header("x-amz-object-lock-retain-until-date").expect("a date");
    assert!(until.ends_with('Z') && until.len() == 20, "{until}");
    assert!(create.header("authorization").is_some_and(|signed| signed.contains("/eu-central-1/s3/")));
}

#[test]
fn a_url_that_cannot_be_meant_is_refused_in_one_line() {
    let environment: Environment = VARIABLES.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    for (url, words) in [
        ("s3://b/p?regoin=x", "parameter 'regoin' of the vault URL is not known"),
        ("s3://b/p?aws_secret_access_key=TOLD", "'aws_secret_access_key' of the vault URL is not known"),
        ("s3://AKIA:TOLD@b/p", "credentials do not belong in it"),
        ("s3://b/p?endpoint=http://127.0.0.1:1", "allow_http=true"),
        ("s3://b/p?endpoint=nonsense", "'endpoint' of the vault URL is no URL"),
        ("s3://b/p?endpoint=https://127.0.0.1:1&path_style=false", "can only be false where the endpoint has a host name"),
        ("s3://b/p?path_style=yes", "is one of: true, false"),
        ("s3://b/p?sse=TOLD", "is one of: AES256"),
        ("s3://b/p?kms_key=k", "needs sse=aws:kms"),
        ("s3://b/p?bucket_key=true&sse=AES256", "needs sse=aws:kms"),
        ("s3://b/p?checksum=md5", "is one of: sha256, crc64nvme"),
        ("s3://b/p?lock_mode=compliance", "needs lock_days"),
        ("s3://b/p?lock_days=3", "needs lock_mode"),
        ("s3://b/p?lock_mode=governance&lock_days=0", "from 1 to 36500"),
        ("s3://b/p?streams=0", "from 1 to 4294967295"),
        ("s3://b/p?at=08:00-18:00,streams=TOLD", "(or STILLPOINT_LIMITS_AT) has a mistake in part 1: streams is a whole number"),
        ("file:///tmp?at=TOLD", "part 1: it begins with a span, not the whole day, as 08:00-18:00"),
        ("gs://b/p?time_zone=TOLD", "(or STILLPOINT_LIMITS_TIME_ZONE) is not in the time zone database; write a name as"),
        ("s3://b/p?region=a&region=b", "given twice"),
        ("gs://b/p?region=a", "'region' of the vault URL is not known"),
        ("az://c/p?account=a&lock_days=3", "'lock_days' of the vault URL is not known"),
        ("az://c/p", "Azure settings cannot be used"),
        ("file:///tmp?region=x", "'region' of the vault URL is not known"),
        ("memory:///?x=y", "'x' of the vault URL is not known"),
        ("ftp://b/p?password=TOLD", "cannot be used"),
    ] {
        let error = opened_in(url, &environment).unwrap_err();
        let line = error.one_line();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}: {line}");
        assert!(line.contains(words) && !line.contains("TOLD") && !line.contains('\n'), "{url}: {line}");
    }
}

#[tokio::test]
async fn without_any_credentials_that_is_what_is_said() {
    let server = ScriptedS3::new();
    let metadata = format!("http://127.0.0.1:{}", closed_port());
    let store = open(&server.url("bucket/p"), &[("AWS_METADATA_ENDPOINT", &metadata)]);
    let error = store.get("name", 10).await.unwrap_err();
    assert!(error.one_line().contains("no credentials in the environment"), "{}", error.one_line());
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn limits_hold_for_all_clones_of_a_store() {
    let server = ScriptedS3::new();
    server.delay(Duration::from_millis(20));
    let creates = async |store: &Store, folder: &str| {
        let stores: Vec<Store> = (0..12).map(|_| store.metered()).collect();
        let names = (0..12).map(|number| format!("{folder}/{number}"));
        let creates = stores.iter().zip(names).map(|(store, name)| async move { store.create(&name, body("x")).await });
        join_all(creates).await.into_iter().collect::<Result<Vec<()>>>().unwrap();
    };
    creates(&open(&format!("{}&streams=2", server.url("bucket/p")), &VARIABLES), "two").await;
    assert_eq!(server.most_under_way(), 2);
    creates(&open(&server.url("bucket/p"), &VARIABLES), "all").await;
    assert!(server.most_under_way() > 2, "without a limit nobody waits");

    let store = open(&format!("{}&bytes_per_second=100kB", server.url("bucket/p")), &VARIABLES);
    let begun = std::time::Instant::now();
    store.create("bytes", body(vec![b'x'; 110_000])).await.unwrap();
    store.get("bytes", 110_000).await.unwrap();
    store.get_range("bytes", 0..30_000).await.unwrap();
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(1450), "250,000 bytes at 100,000 in a second, the first of them at once: {took:?}");
}
