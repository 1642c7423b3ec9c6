//! Drills that `serve` starts by itself: when they are due, once for all that was missed, and heard of when they fail.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stillpoint_tests::{
    Host, Lab, PATIENCE, Running,
    disk::{self, MIB},
    servers::{Receiver, is_signed},
    text,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A host with a small machine that was backed up, and a plan.
struct Site {
    lab: Lab,
    host: Host,
}

impl Site {
    fn new(plan: &str) -> Self {
        let lab = Lab::new();
        let host = lab.host_with_vault();
        disk::full(&lab.path("os.raw"), 4 * MIB, 7);
        host.add("web-01", &[("os", &lab.path("os.raw"))]);
        host.backup("web-01");
        let site = Self { lab, host };
        site.plan(plan);
        site
    }

    fn plan(&self, plan: &str) {
        fs::write(self.lab.path("plan.toml"), plan).expect("a plan can be written");
    }

    fn script(&self, content: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.lab.path("check.sh");
        fs::write(&path, format!("#!/bin/sh\n{content}\n")).expect("a file can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it can be run");
    }

    fn serve(&self) -> Running {
        let [plan, reports, into] = ["plan.toml", "reports", "into"].map(|name| self.lab.arg(name));
        let words = ["serve", "--tick", "300ms", "--drills", &plan, "--drill-reports", &reports, "--drill-into", &into];
        self.host.bound_to_us().spawn(&words)
    }

    fn run(&self) -> stillpoint_tests::Done {
        let [plan, reports, into] = ["plan.toml", "reports", "into"].map(|name| self.lab.arg(name));
        self.host.run(&["--json", "drill", "run", "--plan", &plan, "--reports", &reports, "--into", &into])
    }

    /// The drill of this name, as `drill list` has it.
    fn listed(&self, name: &str) -> Value {
        let [plan, reports] = ["plan.toml", "reports"].map(|name| self.lab.arg(name));
        let listed = self.host.json(&["drill", "list", "--plan", &plan, "--reports", &reports]);
        let drills = listed["drills"].as_array().expect("a list");
        drills.iter().find(|drill| drill["name"] == name).cloned().unwrap_or_else(|| panic!("no {name} in {listed}"))
    }

    /// Lets three days go by of which nothing is known.
    fn was_long_ago(&self, name: &str) {
        let path = self.lab.path(&format!("reports/plan-{name}.json"));
        let mut notes: Value = serde_json::from_slice(&fs::read(&path).expect("notes")).expect("JSON");
        let since: jiff::Timestamp = text(&notes, "/since").parse().expect("an instant");
        notes["since"] = json!(since.checked_sub(jiff::SignedDuration::from_hours(72)).expect("an instant"));
        fs::write(path, notes.to_string()).expect("notes can be written");
    }

    fn reports(&self) -> usize {
        disk::names(&self.lab.path("reports")).iter().filter(|name| name.starts_with("drill-") && name.ends_with(".json")).count()
    }

    fn alarms(&self) -> Vec<Value> {
        let done = self.host.run(&["--json", "alarms"]).json();
        let open = done["open"].as_array().expect("a list");
        open.iter().filter(|alarm| alarm["alarm"] == "drill-failed").cloned().collect()
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn drill(name: &str, more: &str) -> String {
    format!("[[drill]]\nname = \"{name}\"\nmachines = [\"web-01\"]\nchecks = [\"manifest\"]\n{more}\n")
}

/// Due each day at a time that is far from now, so that only what was missed runs.
fn daily() -> String {
    let hour = (jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour() + 12) % 24;
    format!("schedule = {{ daily = \"{hour:02}:00\" }}")
}

#[test]
fn what_was_missed_runs_once_and_is_known_after_a_restart() {
    let site = Site::new(&[drill("first", &daily()), drill("by-hand", ""), drill("second", &daily())].concat());
    let noted = |name: &str| site.lab.path(&format!("reports/plan-{name}.json")).exists();
    let serving = site.serve();
    until("it has looked at the plan", || noted("first") && noted("second"));
    assert_eq!(serving.terminate().code, Some(0));
    assert_eq!((site.reports(), site.listed("first")["began"].is_null()), (0, true), "nothing is due of the time before");

    site.was_long_ago("first");
    let serving = site.serve();
    until("the first is done", || !site.listed("first")["ended"].is_null());
    assert_eq!(serving.terminate().code, Some(0));
    assert_eq!(site.reports(), 1, "three days are one drill");
    let listed = site.listed("first");
    assert_eq!((text(&listed, "/verdict"), text(&listed, "/machines/web-01/verdict")), ("passed", "passed"));
    site.host.json(&["drill", "verify", text(&listed, "/machines/web-01/report")]);
    let next: jiff::Timestamp = text(&listed, "/next").parse().expect("it is due again");
    assert!(next > jiff::Timestamp::now() && site.listed("by-hand")["next"].is_null());

    // A plan that cannot be read any more changes nothing.
    site.was_long_ago("second");
    let serving = site.serve();
    until("the second is done", || !site.listed("second")["ended"].is_null());
    site.plan("[[drill]]\nname = 1\n");
    thread::sleep(Duration::from_secs(1));
    let done = serving.terminate();
    assert_eq!((done.code, done.stderr.matches("stays as it was").count()), (Some(0), 1), "{done}");
    assert_eq!(site.reports(), 2, "and the first is not done again");
    assert_eq!(site.alarms(), Vec::<Value>::new());
    assert!(site.host.fails(&["serve", "--drills", &site.lab.arg("plan.toml"), "--drill-reports", "."]).contains("line 2"));
    assert_eq!(site.host.run(&["serve", "--drills", "plan.toml"]).code, Some(2), "reports go somewhere");
}

#[test]
fn a_drill_that_fails_is_heard_of_until_one_is_good_and_hinders_nobody() {
    let more = |script: &str| format!("script = \"{script}\"\n{}", daily());
    let plan = |script: &str| {
        let failing = drill("failing", &more(script)).replace("[\"manifest\"]", "[\"manifest\", \"script\"]");
        [failing, drill("other", &daily())].concat()
    };
    let site = Site::new(&plan("check.sh"));
    site.script("echo no >&2; exit 4");
    let receiver = Receiver::new(&[]);
    let host = site.host.set("STILLPOINT_WEBHOOK", &receiver.url()).set("STILLPOINT_WEBHOOK_SECRET", SECRET);
    let site = Site { host, ..site };
    let serving = site.serve();
    until("it has looked at the plan", || site.lab.path("reports/plan-other.json").exists());
    assert_eq!(serving.terminate().code, Some(0));
    ["failing", "other"].iter().for_each(|name| site.was_long_ago(name));
    let serving = site.serve();
    let told = |event_type: &str, said: &str| {
        until(said, || {
            let requests = receiver.requests();
            let bodies = requests.iter().map(|request| (request, serde_json::from_slice::<Value>(&request.body).expect("JSON")));
            bodies.into_iter().any(|(request, body)| {
                let is_it = body["type"] == event_type && text(&body, "/text").contains(said);
                is_it && is_signed(request, SECRET) && body["subject"] == "@drill-failing" && body["alarm"] == "drill-failed"
            })
        });
    };
    told("alarm.raised", "web-01 failed: script: ");
    until("the other drill is done", || !site.listed("other")["ended"].is_null());
    assert_eq!(text(&site.listed("other"), "/verdict"), "passed");
    assert_eq!(site.alarms().iter().map(|alarm| text(alarm, "/subject")).collect::<Vec<_>>(), ["@drill-failing"]);
    let listed = site.listed("failing");
    assert!(text(&listed, "/why").starts_with("web-01 failed: script: ") && listed["verdict"] == "failed", "{listed}");
    assert_eq!(serving.terminate().code, Some(0));

    // A script, and then a place, that are not there.
    site.plan(&plan("gone.sh"));
    site.was_long_ago("failing");
    let serving = site.serve();
    told("alarm.raised", "cannot use script");
    let done = serving.terminate();
    assert_eq!((done.code, done.stderr.matches("cannot use script").count() > 0), (Some(0), true), "{done}");
    site.plan(&plan("check.sh"));
    fs::remove_dir_all(site.lab.path("into")).ok();
    fs::write(site.lab.path("into"), "no folder").expect("a file can be written");
    site.was_long_ago("failing");
    let serving = site.serve();
    told("alarm.raised", "cannot make folder");
    assert_eq!(serving.terminate().code, Some(0));
    assert!(text(&site.listed("failing"), "/why").contains("cannot make folder"));
    fs::remove_file(site.lab.path("into")).expect("it can be removed");

    // The next good one, by hand.
    site.script("exit 0");
    assert_eq!(site.run().code, Some(0));
    told("alarm.resolved", "drill failing passed");
    assert_eq!(site.alarms(), Vec::<Value>::new());
}

#[test]
fn one_that_dies_with_its_service_is_cleaned_up_and_done_by_the_next() {
    let plan = drill("slow", &format!("script = \"check.sh\"\n{}", daily())).replace("[\"manifest\"]", "[\"script\"]");
    let site = Site::new(&plan);
    site.script("echo $$ >>../../reached; sleep 600");
    let reached = || fs::read_to_string(site.lab.path("reached")).unwrap_or_default().lines().count();
    let serving = site.serve();
    until("it has looked at the plan", || site.lab.path("reports/plan-slow.json").exists());
    assert_eq!(serving.terminate().code, Some(0));
    site.was_long_ago("slow");
    let serving = site.serve();
    until("it comes to the script", || reached() == 1);
    assert!(site.run().error().contains("another process does drills of plans"), "one at a time");
    drop(serving.kill());
    assert_eq!(disk::names(&site.lab.path("into")).len(), 1);
    let serving = site.serve();
    until("it comes to the script again", || reached() == 2);
    assert_eq!(disk::names(&site.lab.path("into")).len(), 1, "what was left is gone");
    assert_eq!(serving.terminate().code, Some(0));
    assert_eq!(disk::names(&site.lab.path("into")), [""; 0], "a service that ends cleans up");
    assert_eq!((site.reports(), site.alarms().len()), (0, 0));
    let jobs = site.host.jobs("restore", "web-01");
    assert!(jobs.iter().all(|job| ["completed", "cancelled"].contains(&text(job, "/state"))), "{jobs:?}");
}
