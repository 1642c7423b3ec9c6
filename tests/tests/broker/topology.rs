//! What exists on the broker is one description, whoever declares it.

use std::{collections::BTreeSet, fs};

use serde_json::Value;
use stillpoint_broker::Topology;
use stillpoint_tests::{
    repository,
    servers::{RabbitMq, rabbitmq},
};

use crate::bench::{Bench, SITE, publisher, topology};

/// Everything in a virtual host, as the broker tells it.
fn told(node: &RabbitMq, vhost: &str) -> BTreeSet<String> {
    let columns: [&[&str]; 3] = [
        &["list_queues", "name", "durable", "auto_delete", "arguments"],
        &["list_exchanges", "name", "type", "durable", "internal", "arguments"],
        &["list_bindings", "source_name", "destination_name", "destination_kind", "routing_key", "arguments"],
    ];
    let list = |words: &&[&str]| {
        let (what, columns) = words.split_first().expect("a command");
        let listed = node.ctl(&[&[*what, "-p", vhost, "--formatter", "json"], columns].concat());
        let all: Vec<Value> = serde_json::from_str(&listed).unwrap_or_else(|error| panic!("{error}: {listed}"));
        all.into_iter().map(|one| format!("{what} {one}")).collect::<Vec<_>>()
    };
    columns.iter().flat_map(list).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn declaring_again_changes_nothing() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    bench.publisher().ready(None).await.unwrap();
    let once = told(&node, &bench.vhost);
    bench.publisher().ready(None).await.unwrap();
    assert_eq!(told(&node, &bench.vhost), once);
    let queues = once.iter().filter(|one| one.starts_with("list_queues")).count();
    let expected = topology().places().len() + topology().dead().len() + stillpoint_runtime::RETRY_PAUSES.len();
    assert_eq!(queues, expected, "queues of functions, dead letters and pauses");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imported_definitions_are_what_the_program_declares() {
    let node = rabbitmq();
    let (imported, declared) = (Bench::new(&node).await, Bench::new(&node).await);
    let definitions = topology().definitions(&imported.vhost).to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), definitions).unwrap();
    node.ctl(&["import_definitions", file.path().to_str().unwrap()]);
    let before = told(&node, &imported.vhost);
    // A queue with other arguments would be refused here.
    imported.publisher().ready(None).await.unwrap();
    assert_eq!(told(&node, &imported.vhost), before);
    declared.publisher().ready(None).await.unwrap();
    assert_eq!(told(&node, &declared.vhost), before);
}

#[test]
fn the_committed_definitions_are_current() {
    let path = repository().join("infra/rabbitmq/definitions.json");
    let current = format!("{:#}\n", Topology::of("aws".parse().unwrap()).definitions("/"));
    let again = "run cargo run -p stillpoint-broker --example definitions";
    assert_eq!(fs::read_to_string(path).unwrap(), current, "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_somebody_declared_otherwise_is_named() {
    let node = rabbitmq();
    let bench = Bench::new(&node).await;
    let (_connection, channel) = crate::bench::stranger(bench.url()).await;
    let name = format!("stillpoint.{SITE}.snapshot");
    let options = lapin::options::QueueDeclareOptions::durable();
    channel.queue_declare(name.as_str().into(), options, lapin::types::FieldTable::default()).await.unwrap();
    let error = publisher(bench.url()).ready(None).await.unwrap_err().one_line();
    assert!(error.contains(&name), "{error}");
}
