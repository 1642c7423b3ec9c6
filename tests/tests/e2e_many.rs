//! Many machines restored at once, and disks restored into object stores.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use stillpoint_tests::{
    Host, Lab, Mounted,
    disk::{self, MIB},
    number,
    servers::{ScriptedS3, azurite, seaweedfs},
    text,
    vault_files::objects,
};

const SIZE: u64 = 40 * MIB + 4096;

/// Machines `web-00`, `web-01`, …, each with a disk of its own bytes.
fn machines(lab: &Lab, host: &Host, count: u64) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|number| format!("web-{number:02}")).collect();
    for (number, name) in (0..).zip(&names) {
        let image = lab.path(&format!("{name}.raw"));
        disk::sparse(&image, SIZE, 100 + number, &[(number * 65_536, MIB), (36 * MIB, MIB)]);
        host.add(name, &[("os", &image)]);
        host.backup(name);
    }
    names
}

/// Targets as `(name, to, more)`.
fn list(lab: &Lab, targets: &[(&str, &str, &str)], machines: &[String]) -> String {
    let target = |(name, to, more): &(&str, &str, &str)| format!("[[target]]\nname = \"{name}\"\nto = \"{to}\"\n{more}\n");
    let machine = |name: &String| format!("[[machine]]\nname = \"{name}\"\n");
    let text: String = targets.iter().map(target).chain(machines.iter().map(machine)).collect();
    let path = lab.path("restores.toml");
    fs::write(&path, text).expect("a file can be written");
    path.display().to_string()
}

fn targets_of(report: &Value) -> Vec<&str> {
    report["machines"]
        .as_array()
        .expect("a list of machines")
        .iter()
        .map(|machine| machine["target"].as_str().unwrap_or("none"))
        .collect()
}

#[test]
fn each_target_gets_one_machine_before_any_gets_a_second() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let names = machines(&lab, &host, 5);
    let folders: Vec<String> = (0..3).map(|number| lab.arg(&format!("nas-{number}"))).collect();
    let targets: Vec<_> =
        ["a", "b", "c"].into_iter().zip(&folders).map(|(name, to)| (name, to.as_str(), "streams = 2")).collect();
    let file = list(&lab, &targets, &names);
    let report = host.json(&["restore", "--many", &file]);
    let used = targets_of(&report);
    assert_eq!(used[..3], ["a", "b", "c"], "{report}");
    for (name, target) in names.iter().zip(&used) {
        let folder = &folders[usize::from(target.as_bytes()[0] - b'a')];
        disk::assert_same(&Path::new(folder).join(name).join("os.raw"), &lab.path(&format!("{name}.raw")));
    }
    for machine in report["machines"].as_array().unwrap() {
        let job = host.json(&["jobs", "show", text(machine, "/job")]);
        assert_eq!(job["estimated_ms"], machine["estimated_ms"], "the estimate is kept in the job");
        assert!(job["estimated_ms"].as_u64().is_some() && job["duration_ms"].as_u64().is_some(), "{job}");
    }
    let again = host.run(&["--json", "restore", "--many", &file]);
    assert_eq!(again.code, Some(1), "what is there is not replaced: {again}");
    assert!(again.stderr.contains("5 of 5 machines were not restored"), "{again}");
    fs::remove_dir_all(lab.path("nas-1/web-01")).unwrap();
    let rest = host.run(&["--json", "restore", "--many", &file]);
    assert!(rest.stderr.contains("4 of 5 machines were not restored"), "the one that is missing is restored again: {rest}");
    host.json(&["restore", "--many", &file, "--overwrite"]);
}

#[test]
fn ten_machines_come_through_to_two_stores_that_refuse_three_of_ten_requests() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let names = machines(&lab, &host, 10);
    let stores = [ScriptedS3::new(), ScriptedS3::new()];
    let host = host.set("AWS_ACCESS_KEY_ID", "x").set("AWS_SECRET_ACCESS_KEY", "y");
    let urls: Vec<String> = stores.iter().map(|store| store.url("staging/restored")).collect();
    stores.iter().for_each(|store| store.slow_down(3));
    let file = list(&lab, &[("one", &urls[0], "at_once = 2"), ("two", &urls[1], "at_once = 2")], &names);
    let report = host.json(&["restore", "--many", &file]);
    let used = targets_of(&report);
    assert_eq!(used.iter().collect::<BTreeSet<_>>().len(), 2, "{report}");
    for (name, target) in names.iter().zip(used) {
        let store = &stores[usize::from(target == "two")];
        let restored = lab.path("restored.raw");
        fs::write(&restored, store.objects().get(&format!("restored/{name}/os.raw")).expect("the object is there")).unwrap();
        disk::assert_same(&restored, &lab.path(&format!("{name}.raw")));
    }
    for store in &stores {
        assert!(store.objects().keys().all(|key| key.ends_with("/os.raw")), "nothing stays beside them");
    }
}

#[test]
fn a_target_that_is_full_or_gone_holds_nobody() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let names = machines(&lab, &host, 3);
    let small = lab.path("small");
    fs::create_dir(&small).unwrap();
    let mounted = Mounted::tmpfs(&small, "1m");
    let host = host.within(&mounted);
    let (full, good) = (lab.arg("small"), lab.arg("good"));
    let file = list(&lab, &[("full", &full, ""), ("good", &good, "")], &names);
    let estimate = host.run(&["--json", "restore", "--many", &file, "--estimate"]);
    assert_eq!(estimate.code, Some(3), "{estimate}");
    let warning = text(&estimate.json(), "/warnings/0").to_owned();
    assert!(warning.contains("target full has") && warning.contains("good is recommended"), "{warning}");
    let restored = host.run(&["--json", "restore", "--many", &file]);
    assert_eq!(restored.code, Some(3), "{restored}");
    assert!(restored.stderr.contains("at full: restore needs"), "what failed first is said: {restored}");
    assert_eq!(targets_of(&restored.json()), ["good"; 3], "{restored}");
    for name in &names {
        disk::assert_same(&Path::new(&good).join(name).join("os.raw"), &lab.path(&format!("{name}.raw")));
    }
}

#[test]
fn what_can_be_refused_is_refused_before_any_machine_begins() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let mut names = machines(&lab, &host, 1);
    let before = objects(host.vault());
    let to = lab.arg("nas");
    names.push("nobody".to_owned());
    let file = list(&lab, &[("a", &to, "")], &names);
    let refused = host.fails(&["restore", "--many", &file]);
    assert!(refused.contains("machine nobody"), "{refused}");
    let file = list(&lab, &[("a", &to, "speed = 5")], &names[..1]);
    let refused = host.fails(&["restore", "--many", &file]);
    assert!(refused.contains("restores.toml") && refused.contains("line 4"), "{refused}");
    assert!(!Path::new(&to).exists());
    assert_eq!(objects(host.vault()), before, "no job was made");
}

#[test]
fn a_disk_becomes_an_object_in_real_stores() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    machines(&lab, &host, 1);
    let (s3, azure) = (seaweedfs(), azurite());
    s3.make_bucket("staging-one", &[]);
    azure.make_container("staging-one");
    let host = s3.variables().into_iter().chain(azure.variables()).fold(host, |host, (name, value)| host.set(name, value));
    for url in [s3.url("staging-one/a"), azure.url("staging-one/a")] {
        let report = host.json(&["restore", "web-00", "--to", &url]);
        assert_eq!(text(&report, "/state"), "completed", "{report}");
        let taken = host.fails(&["restore", "web-00", "--to", &url]);
        assert!(taken.contains("exists; give --overwrite"), "{taken}");
        assert_eq!(number(&report, "/disks/0/size_bytes"), SIZE);
    }
    let original = fs::read(lab.path("web-00.raw")).unwrap();
    for answer in [s3.ask("GET", "/staging-one/a/os.raw", &[]), azure.blob("staging-one/a/os.raw")] {
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.body == String::from_utf8_lossy(&original), "the object is what the disk was");
    }
}

#[test]
fn a_restore_into_a_store_that_is_killed_is_taken_on() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    machines(&lab, &host, 1);
    let store = ScriptedS3::new();
    let host = host.set("AWS_ACCESS_KEY_ID", "x").set("AWS_SECRET_ACCESS_KEY", "y");
    store.delay(std::time::Duration::from_millis(150));
    for requests in [2, 4, 6, 8] {
        let (url, object) = (store.url(&format!("staging/{requests}")), format!("{requests}/os.raw"));
        store.requests();
        let running = host.spawn(&["restore", "web-00", "--to", &url]);
        let mut seen = 0;
        while seen < requests {
            seen += store.requests().len();
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        drop(running.kill());
        host.run(&["collect"]).ok();
        let restored = lab.path("restored.raw");
        fs::write(&restored, store.objects().get(&object).unwrap_or_else(|| panic!("not taken on after {requests}"))).unwrap();
        disk::assert_same(&restored, &lab.path("web-00.raw"));
        let beside: Vec<String> = store.objects().keys().filter(|key| !key.ends_with("/os.raw")).map(str::to_owned).collect();
        assert_eq!(beside, [""; 0]);
    }
}
