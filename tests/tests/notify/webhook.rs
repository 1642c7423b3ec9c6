//! What a receiver gets, and how often.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use stillpoint_model::{AlarmState, ErrorKind, Result};
use stillpoint_ports::{Messenger, Notice};
use stillpoint_testkit::TestClock;
use stillpoint_tests::servers::{Receiver, Reply, Request, closed_port, is_signed};
use stillpoint_webhook::{Given, SigningSecret, Webhook, receiver};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const JOB: &str = "01JQ1D5V8CWN3H2TSX0R9F4KMB";
const POINT: &str = "01JQ1D9GZ47YQ8E6V0N5B2C3DA";
const VAULT: &str = "01JQ0AAAAAAAAAAAAAAAAAAAAA";
const PATIENCE: Duration = Duration::from_millis(300);
const FIRST_PAUSE: Duration = Duration::from_millis(20);

fn notice() -> Notice {
    Notice {
        vault: VAULT.parse().expect("as it is written"),
        alarm: "damaged/db.example-1".parse().expect("as it is written"),
        seq: 3,
        state: AlarmState::Raised,
        at: "2026-03-23T11:00:31Z".parse().expect("as it is written"),
        text: "2 points are damaged: restore \"older\" ones".to_owned(),
        job: Some(JOB.parse().expect("as it is written")),
        points: vec![POINT.parse().expect("as it is written")],
    }
}

/// A receiver with this script, what became of one notice, and the requests it took.
async fn told(script: &[Reply]) -> (Result<()>, Vec<Request>) {
    let receiver = Receiver::new(script);
    let outcome = webhook(&receiver.url()).send(&notice()).await;
    (outcome, receiver.requests())
}

fn webhook(url: &str) -> Webhook {
    let secret = SigningSecret::parse(SECRET).expect("a secret");
    Webhook::new(url, secret, false, Arc::new(TestClock::new())).expect("a URL").with_patience(PATIENCE, FIRST_PAUSE)
}

#[tokio::test]
async fn a_message_says_all_and_is_signed() {
    let (outcome, requests) = told(&[]).await;
    outcome.unwrap();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/alarms"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("webhook-id"), Some(format!("{VAULT}/damaged/db~example-1/3").as_str()));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let expected = json!({
        "type": "alarm.raised", "alarm": "damaged", "state": "raised", "subject": "db.example-1",
        "text": "2 points are damaged: restore \"older\" ones", "at": "2026-03-23T11:00:31.000Z",
        "vault": VAULT, "job": JOB, "points": [POINT],
    });
    assert_eq!(body, expected);
    assert!(is_signed(request, SECRET), "a receiver finds the signature right");
    let altered = Request { body: [&request.body[..], b" "].concat(), ..request.clone() };
    assert!(!is_signed(&altered, SECRET), "and that of an altered body wrong");
    assert!(!is_signed(request, "another secret of two dozen bytes"), "and that with another secret too");
}

#[tokio::test]
async fn what_passes_is_tried_again_with_the_same_id_until_it_is_taken() {
    for passing in [Reply::Status(500), Reply::Status(503), Reply::Status(429), Reply::Close, Reply::Silence] {
        let (outcome, requests) = told(&[passing.clone(), passing.clone()]).await;
        outcome.unwrap_or_else(|error| panic!("{passing:?}: {}", error.one_line()));
        assert_eq!(requests.len(), 3, "{passing:?}");
        let ids: Vec<_> = requests.iter().map(|request| request.header("webhook-id")).collect();
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
        assert!(is_signed(&requests[2], SECRET));
    }
}

#[tokio::test]
async fn a_receiver_that_stays_away_is_given_up_after_four_tries() {
    for (passing, said) in
        [(Reply::Status(502), "502"), (Reply::Silence, "did not answer within"), (Reply::Close, "cannot be reached")]
    {
        let (outcome, requests) = told(&vec![passing.clone(); 9]).await;
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), requests.len()), (ErrorKind::Unavailable, 4), "{passing:?}");
        assert!(error.one_line().contains(said), "{}", error.one_line());
    }
    let nobody = format!("http://127.0.0.1:{}/s3cret-path", closed_port());
    let error = webhook(&nobody).send(&notice()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && !error.one_line().contains("s3cret-path"), "{}", error.one_line());
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    for status in [400, 401, 403, 404, 410, 413] {
        let (outcome, requests) = told(&[Reply::Status(status)]).await;
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), requests.len()), (ErrorKind::Denied, 1), "{status}");
        assert!(error.one_line().contains(&status.to_string()), "{}", error.one_line());
    }
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let elsewhere = Receiver::new(&[]);
    let (outcome, requests) = told(&[Reply::Redirect(elsewhere.url())]).await;
    let error = outcome.unwrap_err();
    assert!(error.kind() == ErrorKind::Denied && error.one_line().contains("redirects"), "{}", error.one_line());
    assert_eq!((requests.len(), elsewhere.requests().len()), (1, 0), "nobody else reads the alarm");
}

#[test]
fn settings_that_cannot_work_are_told_in_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let url = Some("https://hooks.example.org/".to_owned());
    let given = |secret_file, secret: Option<&str>| Given {
        url: url.clone(),
        secret_file,
        secret: secret.map(str::to_owned),
        allow_http: false,
    };
    let clock = Arc::new(TestClock::new());
    let read = |given: &Given| receiver(given, clock.clone());
    assert!(read(&Given::default()).unwrap().is_none());
    assert!(read(&given(path("good", &format!("{SECRET}\n")), None)).unwrap().is_some());
    assert!(read(&given(None, Some(SECRET))).unwrap().is_some());
    for (wrong, said) in [
        (given(None, None), "STILLPOINT_WEBHOOK_SECRET_FILE"),
        (given(path("both", SECRET), Some(SECRET)), "two secrets"),
        (given(path("short", "secret"), None), "short: the webhook's secret has 6 bytes"),
        (given(Some(folder.path().join("none")), None), "none"),
        (Given { url: Some("http://hooks.example.org/".to_owned()), ..given(None, Some(SECRET)) }, "no TLS"),
    ] {
        let line = read(&wrong).err().expect(said).one_line();
        assert!(line.contains(said), "{line}");
    }
}
