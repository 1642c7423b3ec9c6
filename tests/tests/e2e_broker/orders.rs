//! Orders of other systems through a broker: whoever can publish has nothing written by that alone.

use std::fs;

use serde_json::Value;
use stillpoint_tests::{
    disk::{self, MIB},
    servers::rabbitmq,
    text,
};

use crate::plant::{Plant, UNTIMED, drained, until};

const SITE: &str = "lab";

#[test]
fn an_order_is_carried_out_by_workers_and_what_is_not_allowed_is_parked() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let host = plant.host.set("STILLPOINT_SITE", SITE);
    let source = plant.lab.path("web.raw");
    disk::sparse(&source, 8 * MIB, 4, &[(0, 3 * MIB)]);
    plant.local.add("web-01", &[("os", &source)]);
    plant.local.backup("web-01");
    let (place, key) = (plant.lab.arg("restores"), plant.lab.arg("portal.pem"));
    fs::create_dir(&place).expect("a folder can be made");
    let add = ["requester", "add", "portal", "--machine", "web-01", "--to", &place];
    plant.local.run(&[&add[..], &["--new-key", &key]].concat()).ok();
    let event = |machine: &str, to: &str, more: &[&str]| -> Value {
        let order = ["order", machine, "--requester", "portal", "--key", &key, "--to", to, "--event"];
        plant.local.json(&[&order[..], more].concat())
    };
    let worker = host.bound_to_us().spawn(&[&["worker"], &UNTIMED[..]].concat());
    until("the queues are there", || node.depths(&plant.vhost).values().any(|depth| depth.consumers > 0));
    let publish = |event: &Value, shard: u32| {
        let key = format!("{}.{SITE}.{shard}", text(event, "/type"));
        node.publish(&plant.vhost, "stillpoint", &key, event.to_string().as_bytes());
    };

    let good = event("web-01", &place, &[]);
    (0..3).for_each(|shard| publish(&good, shard));
    until("the restore is done", || {
        let jobs = plant.local.jobs("restore", "web-01");
        jobs.iter().any(|job| text(job, "/state") == "completed")
    });
    disk::assert_same(&source, &plant.lab.path("restores/os.raw"));
    let jobs = plant.local.jobs("restore", "web-01");
    assert_eq!(jobs.len(), 1, "sent three times, it is one job: {jobs:?}");
    assert_eq!(text(&jobs[0], "/order/requester"), "portal");

    let mut forged = event("web-01", &place, &[]);
    let token = text(&forged, "/data/order").to_owned();
    forged["data"]["order"] = Value::String(format!("{}AAAA", &token[..token.len() - 4]));
    let refused = [
        (forged, "did not sign"),
        (event("big", &place, &[]), "may not have machine big restored"),
        (event("web-01", &plant.lab.arg("elsewhere"), &[]), "may not have anything written to"),
        (event("web-01", &place, &["--overwrite"]), "may not have anything replaced"),
        (event("web-01", &place, &["--valid-for", "1s"]), "it expired at"),
    ];
    std::thread::sleep(std::time::Duration::from_secs(2));
    refused.iter().for_each(|(event, _)| publish(event, 0));
    let dead = || host.json(&["dead"])["dead"].as_array().expect("a list").clone();
    until("all are parked", || dead().len() == refused.len());
    for (_, why) in &refused {
        assert!(dead().iter().any(|letter| text(letter, "/reason").contains(why)), "{why}: {:?}", dead());
    }
    assert_eq!(plant.local.jobs("restore", "web-01").len(), 1, "none of them made a job");
    assert!(plant.local.jobs("restore", "big").is_empty());
    drained(&worker.terminate());
}
