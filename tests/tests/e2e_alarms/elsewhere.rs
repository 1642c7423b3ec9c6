//! Alarms that workers on RabbitMQ and a function on Lambda tell.

use std::{fs, thread, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use stillpoint_tests::{
    Lab,
    lambda::{Environment, LambdaFunction, Outcome},
    servers::{RabbitMq, Receiver, Reply, is_signed, rabbitmq},
};

use super::{SECRET, alarms, key_file, open::raise, opened, wait};

fn dead(node: &RabbitMq, vhost: &str) -> u64 {
    node.depths(vhost).iter().filter(|(name, _)| name.ends_with(".dead")).map(|(_, depth)| depth.ready + depth.unacked).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_tells_what_nobody_was_told_of_once_the_receiver_is_back_and_parks_nothing() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    // Whoever raised it died before he could publish it.
    raise(&opened(&host, Timestamp::now()).await, "damaged/web-01", "a pack is damaged").await;
    let node = rabbitmq();
    // Out of order for as long as one event is tried.
    let receiver = Receiver::new(&vec![Reply::Status(500); 4]);
    let vhost = node.vhost();
    let settings = [
        ("STILLPOINT_BROKER", node.url(&vhost)),
        ("STILLPOINT_SITE", "host-a".to_owned()),
        ("STILLPOINT_WEBHOOK", receiver.url()),
        ("STILLPOINT_WEBHOOK_SECRET", SECRET.to_owned()),
    ];
    let service = settings.iter().fold(host.clone(), |host, (name, value)| host.set(name, value)).bound_to_us();
    let timer = service.spawn(&["worker", "schedule", "--tick", "500ms"]);
    wait("events wait for a worker", || {
        node.depths(&vhost).get("stillpoint.host-a.notify").is_some_and(|queue| queue.ready > 1).then_some(())
    });
    let teller = service.spawn(&["worker", "notify"]);
    wait("the note that it was told", || {
        let (_, document) = alarms(&host, &[]);
        (document["open"][0]["told"] == true).then_some(())
    });
    let requests = receiver.requests();
    assert!(requests.iter().all(|request| is_signed(request, SECRET)));
    assert_eq!(requests.len(), 5, "four times in vain, and once");
    wait("the rest of the events is found to be done", || {
        node.depths(&vhost).values().all(|queue| queue.ready + queue.unacked == 0).then_some(())
    });
    thread::sleep(Duration::from_secs(1));
    assert_eq!((receiver.requests().len(), dead(&node, &vhost)), (0, 0));
    drop((timer.terminate(), teller.terminate()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_on_lambda_tells_and_parks_what_is_forged() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    raise(&opened(&host, Timestamp::now()).await, "slot-missed/web-01", "no backup since Monday").await;
    let node = rabbitmq();
    let receiver = Receiver::new(&[]);
    let vhost = node.vhost();
    let environment = [
        ("STILLPOINT_VAULT", host.url()),
        ("STILLPOINT_KEY_FILE", key_file(&host).display().to_string()),
        ("STILLPOINT_BROKER", node.url(&vhost)),
        ("STILLPOINT_WEBHOOK", receiver.url()),
        ("STILLPOINT_WEBHOOK_SECRET", SECRET.to_owned()),
    ];
    let environment = environment.iter().fold(Environment::default(), |all, (name, value)| all.set(name, value));
    let notify = LambdaFunction::start("notify", &environment);
    let sample =
        fs::read_to_string(stillpoint_tests::repository().join("events/samples/valid/io.stillpoint.alarm.changed.v1.json"));
    let mut event: Value = serde_json::from_str(&sample.expect("a sample")).expect("JSON");
    event["data"] = json!({ "kind": "slot-missed", "subject": "web-01", "seq": 1, "state": "raised" });
    for times in [1, 0] {
        assert_eq!(notify.invoke(&event), Outcome::Answered(json!({ "handled": 1, "later": 0, "parked": 0 })));
        let requests = receiver.requests();
        assert_eq!(requests.len(), times, "told once");
        assert!(requests.iter().all(|request| is_signed(request, SECRET)));
    }
    event["data"]["seq"] = json!(7);
    assert_eq!(notify.invoke(&event), Outcome::Answered(json!({ "handled": 0, "later": 0, "parked": 1 })));
    assert_eq!((receiver.requests().len(), dead(&node, &vhost)), (0, 1), "an operator sees that somebody tried");
    let (_, document) = alarms(&host, &[]);
    assert_eq!(document["open"][0]["told"], true);
}
