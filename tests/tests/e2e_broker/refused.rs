//! What a broker refuses, or where there is none: one line, and no job that nobody carries.

use stillpoint_tests::{
    Done,
    servers::{closed_port, rabbitmq},
};

use crate::plant::{ALL, Plant, UNTIMED, drained};

/// The last line that a failed service says, after its log.
fn last_line(done: &Done) -> String {
    assert_eq!(done.code, Some(1), "{done}");
    let line = done.stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("stillpoint: "), "{done}");
    line.to_owned()
}

#[test]
fn a_wrong_password_is_refused_in_one_line_that_does_not_name_it() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let wrong = node.url(&plant.vhost).replace("correct-horse", "wrong-battery");
    let host = plant.local.set("STILLPOINT_BROKER", &wrong);
    let worker = host.run(&[&["worker"], &UNTIMED[..]].concat());
    let lines = [last_line(&worker), host.fails(&["backup", "big"]), host.fails(&["dead"])];
    for line in lines {
        assert!(line.contains("password") && line.contains("127.0.0.1"), "{line}");
        assert!(!line.contains("wrong-battery") && !line.contains("correct-horse"), "{line}");
    }
    assert!(!worker.stderr.contains("wrong-battery"), "{worker}");
    assert!(plant.local.jobs("backup", "big").is_empty(), "there is no job that nobody carries");
}

#[test]
fn where_no_broker_is_commands_fail_and_a_worker_gives_up_after_a_while() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let url = format!("amqp://stillpoint:correct-horse@127.0.0.1:{}/nowhere", closed_port());
    let host = plant.local.set("STILLPOINT_BROKER", &url);
    let line = host.fails(&["backup", "big"]);
    assert!(line.contains("127.0.0.1") && !line.contains("correct-horse"), "{line}");
    assert!(plant.local.jobs("backup", "big").is_empty(), "there is no job that nobody carries");
    let worker = host.run(&[&["worker"], &UNTIMED[..], &["--patience", "2s"]].concat());
    assert!(last_line(&worker).contains("127.0.0.1"), "{worker}");
    assert!(worker.stderr.matches("trying again").count() >= 2, "it tried for a while: {worker}");
}

#[test]
fn a_virtual_host_that_does_not_exist_is_named() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let host = plant.local.set("STILLPOINT_BROKER", &node.url("no-such-vhost"));
    let line = host.fails(&["backup", "big"]);
    assert!(line.contains("virtual host") && line.contains("no-such-vhost"), "{line}");
}

#[test]
fn a_broker_over_tls_is_trusted_by_its_authority_only() {
    let node = rabbitmq();
    let plant = Plant::new(&node);
    let url = node.tls_url(&plant.vhost);
    let stranger = plant.local.set("STILLPOINT_BROKER", &url);
    let line = stranger.fails(&["backup", "big"]);
    assert!(line.contains("amqps://127.0.0.1"), "{line}");
    let ca = node.ca_file().to_str().expect("paths are text");
    let friend = stranger.set("STILLPOINT_BROKER_CA", ca);
    let worker = friend.bound_to_us().spawn(&[&["worker"], &ALL[..]].concat());
    friend.backup("big");
    plant.nothing_left();
    drained(&worker.terminate());
    let worker = plant.host.bound_to_us().spawn(&["worker", "snapshot", "--broker", &url, "--broker-ca", "/nowhere/ca.pem"]);
    assert!(last_line(&worker.finish()).contains("/nowhere/ca.pem"));
}
