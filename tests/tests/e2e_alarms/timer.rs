//! The timer, and who is told of what it finds.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use stillpoint_fleet::Tick;
use stillpoint_ports::DiskSource;
use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
    servers::{Receiver, Reply, is_signed},
    text,
};
use stillpoint_vault::{Item, Vault};

use super::{SECRET, alarms, open, opened, wait};

const POLICY: &str =
    "name = \"hourly\"\n[applies_to]\nnames = [\"web-01\"]\n[schedule]\nevery = \"1h\"\n[retention]\ndaily = 7\n";

fn ago(hours: i64) -> Timestamp {
    Timestamp::now().checked_sub(SignedDuration::from_hours(hours)).expect("an instant")
}

/// A host whose machine `web-01` has been under a policy of hourly backups for a day; its disk is still to be made.
async fn scheduled(lab: &Lab) -> (Host, Vault) {
    let host = lab.host_with_vault();
    let vault = opened(&host, ago(24)).await;
    let policy = stillpoint_policy_file::from_toml(POLICY).expect("a policy");
    vault.write_policy(&policy).await.expect("it can be written");
    let source = DiskSource { name: "os".parse().expect("a name"), location: lab.arg("disk.raw") };
    let item = Item::new("web-01".parse().expect("a name"), "image", "here", vec![source], ago(24));
    vault.write_item(&item, false).await.expect("it can be written");
    (host, vault)
}

/// A timer that ran for the last time two hours ago.
async fn ticked(vault: &Vault) -> Timestamp {
    let at = ago(2);
    let tick = Tick { at, jobs_through: at, unfinished: Vec::new(), starts: Vec::new(), missed: Vec::new() };
    assert!(tick.record(vault, 1).await.expect("it can be written"));
    at
}

#[tokio::test]
async fn a_timer_that_stands_still_is_seen_by_whoever_looks_and_not_after_it_runs_again() {
    let lab = Lab::new();
    let (host, vault) = scheduled(&lab).await;
    let said = || {
        let (_, document) = alarms(&host, &[]);
        let one = document["open"].as_array().expect("a list").iter().find(|one| one["alarm"] == "timer-stopped").cloned();
        one.map(|one| (text(&one, "/subject").to_owned(), text(&one, "/text").to_owned(), one["told"].is_null()))
    };
    let (subject, text, nobody) = said().expect("no timer ever ran");
    assert!(subject == "@schedule" && text.contains("never run") && nobody, "{text}");
    let at = ticked(&vault).await;
    assert!(said().expect("it ran two hours ago").1.contains(&format!("has not run since {at:.0}")));
    let all = host.run(&["alarms", "--all"]);
    assert!(all.code == Some(3) && String::from_utf8_lossy(&all.stdout).contains("has not run since"), "{all}");

    let serving = host.bound_to_us().spawn(&["serve", "--tick", "1s"]);
    wait("a tick", || said().is_none().then_some(()));
    drop(serving.terminate());
}

#[tokio::test]
async fn what_a_service_finds_is_told_with_a_signature_and_so_is_its_end() {
    let lab = Lab::new();
    let (host, vault) = scheduled(&lab).await;
    ticked(&vault).await;
    let receiver = Receiver::new(&[Reply::Status(503)]);
    let secret = lab.arg("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).expect("a file");
    let service = host.bound_to_us().set("STILLPOINT_WEBHOOK", &receiver.url()).set("STILLPOINT_WEBHOOK_SECRET_FILE", &secret);
    let serving = service.spawn(&["serve", "--tick", "1s"]);
    let taken = std::cell::RefCell::new(Vec::new());
    // The message of this type about the machine, once it comes.
    let message = |event_type: &str| {
        wait(event_type, || {
            taken.borrow_mut().extend(receiver.requests());
            let taken = taken.borrow();
            let bodies = taken.iter().map(|request| (request, serde_json::from_slice::<Value>(&request.body).expect("JSON")));
            let mut of_type = bodies.filter(|(_, body)| body["type"] == event_type && body["subject"] == "web-01");
            of_type.next().map(|(request, body)| (request.clone(), body))
        })
    };
    let (request, body) = message("alarm.raised");
    assert!(is_signed(&request, SECRET));
    let kind = text(&body, "/alarm").to_owned();
    assert!(!text(&body, "/text").is_empty() && body["state"] == "raised", "{body}");
    wait("the note that it was told", || {
        let (_, document) = alarms(&host, &[]);
        let told = |one: &&Value| one["alarm"] == kind.as_str() && one["subject"] == "web-01" && one["told"] == true;
        document["open"].as_array().expect("a list").iter().any(|one| told(&one)).then_some(())
    });

    disk::sparse(&lab.path("disk.raw"), 2 * MIB, 1, &[(0, MIB)]);
    host.backup("web-01");
    let (request, body) = message("alarm.resolved");
    assert!(is_signed(&request, SECRET) && body["state"] == "resolved", "{body}");
    wait("the end of the alarms", || open(&host).iter().all(|alarm| !alarm.ends_with("/web-01")).then_some(()));
    drop(serving.terminate());
}

#[test]
fn a_service_says_at_once_that_nobody_can_be_told_and_other_commands_go_on() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    for (url, secret, said) in [
        ("http://hooks.example.org/t0ken", SECRET, "no TLS"),
        ("https://hooks.example.org/t0ken", "", "STILLPOINT_WEBHOOK_SECRET_FILE"),
        ("https://hooks.example.org/t0ken", "whsec_short", "base64"),
    ] {
        let host = host.set("STILLPOINT_WEBHOOK", url).set("STILLPOINT_WEBHOOK_SECRET", secret).set("STILLPOINT_LOG", "off");
        let line = host.fails(&["serve"]);
        assert!(line.contains(said) && !line.contains("t0ken"), "{line}");
        assert_eq!(open(&host), Vec::<String>::new());
    }
}
