//! Messages that no function could handle, from the command line.

use std::sync::Arc;

use serde_json::Value;
use stillpoint_broker::{Broker, Publisher, Topology};
use stillpoint_events::{Function, Outgoing, SegmentPlanned};
use stillpoint_model::JobId;
use stillpoint_testkit::{TestClock, TestRandom};
use stillpoint_tests::{servers::rabbitmq, text};

use crate::plant::{ALL, Plant, drained, until};

const JOB: &str = "01JQ1D5V8CWN3H2TSX0R9F4KMB";
const SITE: &str = "lab";

fn letters(plant: &Plant) -> Vec<Value> {
    let document = plant.host.json(&["dead", "list"]);
    document["dead"].as_array().unwrap_or_else(|| panic!("no letters in {document}")).clone()
}

#[test]
fn dead_letters_are_listed_shown_redriven_and_dropped() {
    let node = rabbitmq();
    let mut plant = Plant::new(&node);
    plant.host = plant.host.set("STILLPOINT_SITE", SITE);
    let broker = Broker::new(&node.url(&plant.vhost), None).unwrap();
    let (clock, random) = (Arc::new(TestClock::new()), Arc::new(TestRandom::new(1)));
    let publisher = Publisher::new(broker, Arc::new(Topology::of(SITE.parse().unwrap())), "stillpoint/test", clock, random);
    let job: JobId = JOB.parse().unwrap();
    let events: Vec<Outgoing> = (0..5).map(|segment| Outgoing::new(&SegmentPlanned { job, segment })).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(publisher.publish(&events)).unwrap();
    assert_eq!(letters(&plant), [] as [Value; 0], "nobody has looked at them yet");
    let worker = plant.worker(&ALL);
    until("all are parked", || letters(&plant).len() == 5);
    let all = letters(&plant);
    for letter in &all {
        assert_eq!((text(letter, "/function"), text(letter, "/job")), (Function::Transfer.as_str(), JOB), "{letter}");
        assert!(text(letter, "/reason").contains("there is no job"), "{letter}");
    }
    let [first, second] = [0, 1].map(|at| text(&all[at], "/id").to_owned());
    let shown = plant.host.json(&["dead", "show", &first]);
    assert_eq!(text(&shown, "/body/type"), "io.stillpoint.segment.planned.v1");
    assert_eq!(text(&shown, "/body/data/job"), JOB);
    // Its worker puts it aside again.
    plant.host.run(&["dead", "redrive", &first]).ok();
    until("it came back", || letters(&plant).len() == 5);
    drained(&worker.terminate());
    plant.host.run(&["dead", "drop", &second]).ok();
    assert!(letters(&plant).iter().all(|letter| text(letter, "/id") != second));
    let table = plant.host.run(&["dead"]).ok();
    assert_eq!(String::from_utf8_lossy(&table.stdout).matches("segment.planned").count(), 4, "{table}");
    plant.host.run(&["dead", "redrive", "--all"]).ok();
    assert_eq!(letters(&plant), [] as [Value; 0]);
    assert!(plant.host.fails(&["dead", "show", &first]).contains(&first));
    assert!(plant.host.fails(&["dead", "drop", &first]).contains(&first));
    plant.host.run(&["dead", "drop", "--all"]).ok();
}
