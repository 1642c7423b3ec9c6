//! The list of open alarms, and their history.

use std::fs;

use jiff::Timestamp;
use serde_json::json;
use stillpoint_model::AlarmKey;
use stillpoint_tests::Lab;
use stillpoint_vault::{Occurrence, Vault};

use super::{alarms, open, opened};

const JOB: &str = "01JQ1D5V8CWN3H2TSX0R9F4KMB";
const POINT: &str = "01JQ1D9GZ47YQ8E6V0N5B2C3DA";

async fn set(vault: &Vault, alarm: &str, raised: bool, occurrence: Occurrence) {
    let alarm: AlarmKey = alarm.parse().expect("an alarm");
    let alarms = vault.alarms().await.expect("they can be listed");
    let seq = vault.set_alarm(&alarms, &alarm, raised, occurrence).await.expect("it can be written");
    assert!(seq.is_some(), "it changes");
}

/// Raises an alarm that says no more than a text.
pub async fn raise(vault: &Vault, alarm: &str, text: &str) {
    set(vault, alarm, true, saying(text)).await;
}

fn saying(text: &str) -> Occurrence {
    Occurrence { text: text.to_owned(), ..Occurrence::default() }
}

#[tokio::test]
async fn an_alarm_is_listed_while_it_is_open_and_stays_in_the_history() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    assert_eq!(open(&host), Vec::<String>::new());
    let quiet = host.run(&["alarms"]);
    assert_eq!((quiet.code, String::from_utf8_lossy(&quiet.stdout).trim()), (Some(0), "no alarm is open"));

    let now: Timestamp = "2026-03-23T11:00:31Z".parse().expect("an instant");
    let vault = opened(&host, now).await;
    let hurt = Occurrence {
        text: "a pack is damaged".to_owned(),
        job: Some(JOB.parse().expect("an id")),
        points: vec![POINT.parse().expect("an id")],
    };
    set(&vault, "damaged/web-01", true, hurt).await;
    raise(&vault, "job-failed/@prune", "prune failed").await;
    let all = vault.alarms().await.expect("they can be listed");
    vault.told(&all, &"job-failed/@prune".parse().expect("an alarm")).await.expect("it can be written");

    assert_eq!(open(&host), ["job-failed/@prune", "damaged/web-01"]);
    let (_, document) = alarms(&host, &[]);
    let damaged = &document["open"][1];
    assert!(damaged["since"].as_str().is_some_and(|since| since.starts_with("2026-03-23T11:00:31")), "{damaged}");
    assert_eq!((&damaged["text"], &damaged["told"]), (&json!("a pack is damaged"), &json!(false)));
    assert_eq!((&damaged["job"], &damaged["points"]), (&json!(JOB), &json!([POINT])));
    assert_eq!(document["open"][0]["told"], true);
    let shown = host.run(&["alarms"]);
    let table = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.code, Some(3), "{shown}");
    for word in ["2026-03-23T11:00:31Z", "damaged", "web-01", JOB, "a pack is damaged", "@prune"] {
        assert!(table.contains(word), "'{word}' is missing in\n{table}");
    }

    set(&vault, "damaged/web-01", false, saying("read again, and whole")).await;
    set(&vault, "job-failed/@prune", false, saying("prune succeeded")).await;
    assert_eq!(open(&host), Vec::<String>::new());
    let (_, document) = alarms(&host, &["--all"]);
    let history: Vec<String> = document["history"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            format!(
                "{} {} {}",
                one["alarm"].as_str().unwrap_or("?"),
                one["state"].as_str().unwrap_or("?"),
                one["text"].as_str().unwrap_or("?")
            )
        })
        .collect();
    assert_eq!(
        history,
        [
            "damaged raised a pack is damaged",
            "job-failed raised prune failed",
            "job-failed told ",
            "damaged resolved read again, and whole",
            "job-failed resolved prune succeeded",
        ]
    );
    let shown = host.run(&["alarms", "--all"]);
    assert!(shown.code == Some(0) && String::from_utf8_lossy(&shown.stdout).contains("read again, and whole"), "{shown}");
}

#[tokio::test]
async fn an_alarm_whose_record_was_altered_is_one_all_the_same() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let vault = opened(&host, Timestamp::now()).await;
    raise(&vault, "slot-missed/web-01", "no backup since Monday").await;
    let path = host.vault().join("alarms/slot-missed/web-01/000001-raised.json");
    let altered = fs::read_to_string(&path).expect("it can be read").replace("Monday", "Friday");
    fs::write(&path, altered).expect("it can be written");
    assert_eq!(open(&host), ["slot-missed/web-01"]);
    let (_, document) = alarms(&host, &[]);
    let said = document["open"][0]["text"].as_str().expect("a text");
    assert!(said.contains("cannot be read") && !said.contains("Friday"), "{said}");
}
