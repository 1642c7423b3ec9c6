//! The functions' real bootstraps, as AWS Lambda runs them, with RabbitMQ before and behind them: nothing of the product is
//! replaced, only Amazon's side of it.

#[path = "e2e_lambda/cloud.rs"]
mod cloud;
#[path = "e2e_lambda/three_ways.rs"]
mod three_ways;

use std::{fs, sync::Arc, thread, time::Duration};

use serde_json::{Value, json};
use stillpoint_tests::{
    disk::{self, MIB},
    lambda::{Emulator, LambdaFunction, Outcome},
    servers::{closed_port, rabbitmq},
    text,
    vault_files::{PackName, is_pack, objects_of},
};

use crate::cloud::{Cloud, answered, sample, until};

#[test]
fn functions_on_lambda_back_a_machine_up_and_restore_it() {
    let node = rabbitmq();
    let cloud = Cloud::new(&node);
    let disk = cloud.lab.path("disk.raw");
    disk::sparse(&disk, 512 * MIB, 7, &[(0, 70 * MIB), (128 * MIB, 70 * MIB), (256 * MIB + 512, 70 * MIB)]);
    cloud.host.add("web-01", &[("disk", &disk)]);
    let before: Vec<_> =
        [("snapshot", 10), ("transfer", 4), ("commit", 10)].map(|(name, size)| cloud.mappings(name, size)).into();
    cloud.host.backup("web-01");
    let packs = objects_of(cloud.host.vault(), is_pack);
    let mut segments: Vec<String> = packs.iter().map(|name| PackName::parse(name).segment).collect();
    segments.dedup();
    assert!(segments.len() > 1, "several segments went through the shards: {packs:?}");

    disk::overwrite(&disk, 300 * MIB + 512, &disk::noise(8, 3 * MIB));
    let second = cloud.host.backup("web-01");
    drop(before);
    let _restores = cloud.mappings("restore", 4);
    let into = cloud.lab.path("restored");
    fs::create_dir(&into).expect("a folder can be made");
    cloud.host.restores("web-01", text(&second, "/point"), &into, &[("disk", &disk)]);
    assert!(cloud.dead().is_empty(), "nothing was parked: {:?}", cloud.dead());
}

#[test]
fn a_malformed_record_is_parked_and_the_rest_of_its_batch_handled() {
    let node = rabbitmq();
    let cloud = Cloud::new(&node);
    let queue = cloud.planned_segment();
    cloud.put(&queue, b"{ no event");
    let mapping = cloud.mapping("transfer", &queue, 2);
    until("the batch is over", || !mapping.outcomes().is_empty());
    assert_eq!(mapping.outcomes(), [answered(1, 0, 1)]);
    let dead = cloud.dead();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!((text(&dead[0], "/function"), text(&dead[0], "/queue")), ("transfer", queue.as_str()));
    assert!(text(&dead[0], "/reason").contains("no event of ours"), "{dead:?}");
    assert_eq!(cloud.ready("stillpoint.aws.commit"), 1, "the other one's effect");
}

#[test]
fn a_batch_whose_effects_cannot_be_published_comes_again_whole() {
    let node = rabbitmq();
    let cloud = Cloud::new(&node);
    let queue = cloud.planned_segment();
    // Queues may be declared and dead letters kept, but no event is taken.
    cloud.permit("^(stillpoint[.].+|amq[.]default)$");
    let refused = cloud.mapping("transfer", &queue, 4);
    until("the batch is refused", || !refused.outcomes().is_empty());
    assert!(refused.outcomes().iter().all(|outcome| matches!(outcome, Outcome::Failed(..))), "{:?}", refused.outcomes());
    drop(refused);
    until("the record is back in its queue", || cloud.ready(&queue) == 1);
    cloud.permit(".*");
    let mapping = cloud.mapping("transfer", &queue, 4);
    until("the batch is over", || !mapping.outcomes().is_empty());
    assert_eq!(mapping.outcomes(), [answered(1, 0, 0)]);
    until("its effect is there", || cloud.ready("stillpoint.aws.commit") >= 1);
    assert!(cloud.dead().is_empty());
}

#[test]
fn a_record_that_could_not_end_goes_back_to_its_own_queue() {
    let node = rabbitmq();
    let cloud = Cloud::new(&node);
    let transfer = LambdaFunction::start("transfer", &cloud.environment);
    let mut batch = sample("amazon-mq");
    batch["rmqMessagesByQueue"] =
        json!({ "stillpoint.aws.transfer.2::/": batch["rmqMessagesByQueue"]["stillpoint.aws.transfer.0::/"] });
    assert_eq!(transfer.invoke(&batch), answered(0, 0, 2), "with all the time there is, it turns out that there is no such job");
    assert_eq!(transfer.invoke_within(&batch, Duration::from_secs(20)), answered(0, 2, 0));
    until("both are back", || cloud.ready("stillpoint.aws.transfer.2") == 2);
    assert_eq!(cloud.dead().len(), 2, "and nothing more was parked");
}

#[test]
fn an_order_through_eventbridge_is_carried_out_once_and_a_forged_one_is_parked() {
    let node = rabbitmq();
    let cloud = Cloud::new(&node);
    let disk = cloud.lab.path("disk.raw");
    disk::sparse(&disk, 8 * MIB, 5, &[(MIB, 2 * MIB)]);
    cloud.host.add("web-01", &[("os", &disk)]);
    let backing: Vec<_> =
        [("snapshot", 10), ("transfer", 4), ("commit", 10)].map(|(name, size)| cloud.mappings(name, size)).into();
    cloud.host.backup("web-01");
    drop(backing);
    let (place, key) = (cloud.lab.arg("restores"), cloud.lab.arg("portal.pem"));
    fs::create_dir(&place).expect("a folder can be made");
    cloud.host.run(&["requester", "add", "portal", "--new-key", &key, "--machine", "web-01", "--to", &place]).ok();
    let order = cloud.host.json(&["order", "web-01", "--requester", "portal", "--key", &key, "--to", &place]);
    let mut event = sample("ordered");
    event["detail"]["order"] = order["order"].clone();

    let restore = LambdaFunction::start("restore", &cloud.environment);
    assert_eq!(restore.invoke(&sample("ordered")), answered(0, 0, 1), "the sample is for another vault");
    assert_eq!(restore.invoke(&event), answered(1, 0, 0));
    let _restores = cloud.mappings("restore", 4);
    let job = text(&order, "/job").to_owned();
    until("the restore is done", || text(&cloud.host.json(&["jobs", "show", &job]), "/state") == "completed");
    disk::assert_same(&disk, &cloud.lab.path("restores/os.raw"));
    assert_eq!(restore.invoke(&event), answered(1, 0, 0), "again, it is done already");
    assert_eq!(cloud.host.jobs("restore", "web-01").len(), 1);
    let dead = cloud.dead();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert!(
        text(&dead[0], "/reason").contains("knows no requester") || text(&dead[0], "/reason").contains("did not sign"),
        "{dead:?}"
    );
}

#[test]
fn every_sample_of_a_trigger_is_taken() {
    let node = rabbitmq();
    let cloud = Cloud::new(&node);
    let schedule = LambdaFunction::start("schedule", &cloud.environment);
    assert_eq!(schedule.invoke(&sample("scheduled")), answered(1, 0, 0));
    assert_eq!(schedule.invoke(&sample("scheduled")), answered(1, 0, 0), "and again, in the same process");
    // Their job does not exist in this vault, which only somebody who opens it can tell.
    let commit = LambdaFunction::start("commit", &cloud.environment);
    assert_eq!(commit.invoke(&sample("envelope")), answered(0, 0, 1));
    let transfer = LambdaFunction::start("transfer", &cloud.environment);
    assert_eq!(transfer.invoke(&sample("amazon-mq")), answered(0, 0, 2));
    assert_eq!(transfer.invoke(&sample("amazon-mq-null-priority")), answered(0, 0, 1));
    let dead = cloud.dead();
    let mut queues: Vec<&str> = dead.iter().map(|letter| text(letter, "/queue")).collect();
    queues.sort_unstable();
    let shard = "stillpoint.aws.transfer.0";
    assert_eq!(queues, ["stillpoint.aws.commit", shard, shard, shard]);
    assert!(dead.iter().all(|letter| text(letter, "/reason").contains("no job")), "{dead:?}");
}

#[test]
fn what_cannot_be_done_fails_the_invocation_with_its_reason() {
    let node = rabbitmq();
    let cloud = Cloud::new(&node);
    let refused = |function: &LambdaFunction, payload: &Value, kind: &str, told: &str| match function.invoke(payload) {
        Outcome::Failed(error_type, message) => {
            assert_eq!(error_type, format!("stillpoint.{kind}"), "{message}");
            assert!(message.contains(told), "'{told}' is not in: {message}");
        }
        answer => panic!("{told}: {answer:?}"),
    };
    let start = |name: &str, value: &str| LambdaFunction::start("transfer", &cloud.environment.set(name, value));
    let batch = sample("amazon-mq");
    refused(&start("STILLPOINT_BROKER", ""), &batch, "invalid", "STILLPOINT_BROKER is not set");
    let nobody = format!("amqp://u:secret@127.0.0.1:{}/%2f", closed_port());
    refused(&start("STILLPOINT_BROKER", &nobody), &batch, "unavailable", "cannot connect to the broker at amqp://127.0.0.1");
    refused(&start("STILLPOINT_VAULT", ""), &batch, "invalid", "STILLPOINT_VAULT is not set");
    refused(&start("STILLPOINT_VAULT", &format!("file://{}", cloud.lab.arg("none"))), &batch, "missing", "");
    refused(&start("STILLPOINT_KEY_FILE", &cloud.lab.arg("none")), &batch, "missing", "STILLPOINT_KEY_FILE");
    refused(&start("STILLPOINT_SITE", "elsewhere"), &batch, "invalid", "'stillpoint.aws.transfer.0' is no queue of transfer");
    let transfer = LambdaFunction::start("transfer", &cloud.environment);
    refused(&transfer, &sample("scheduled"), "invalid", "transfer is not called by a timer");
    refused(&transfer, &json!({ "Records": [] }), "invalid", "an object of Records");
    assert_eq!(transfer.invoke(&batch), answered(0, 0, 2), "and the process goes on");
}

/// Longer than the broker waits for a sign of life, which its heartbeat of one second makes short.
const FROZEN: Duration = Duration::from_secs(5);

#[test]
fn a_function_that_was_frozen_publishes_again() {
    let node = rabbitmq();
    let cloud = Cloud::new(&node);
    let environment = cloud.environment.set("STILLPOINT_BROKER", &format!("{}?heartbeat=1", cloud.broker));
    let commit = LambdaFunction::start("commit", &environment);
    assert_eq!(commit.invoke(&sample("envelope")), answered(0, 0, 1));
    commit.freeze();
    thread::sleep(FROZEN);
    commit.thaw();
    assert_eq!(commit.invoke(&sample("envelope")), answered(0, 0, 1));
    assert_eq!(cloud.dead().len(), 2);
}

#[test]
fn the_bootstraps_run_under_aws_s_own_emulator() {
    let node = rabbitmq();
    let cloud = Cloud::new(&node);
    let mut schedule = Emulator::start("schedule", &cloud.environment);
    let handled = json!({ "handled": 1, "later": 0, "parked": 0 });
    assert_eq!(schedule.invoke(&sample("scheduled")), handled);
    assert_eq!(schedule.invoke(&sample("scheduled")), handled);
    let refused = schedule.invoke(&json!({ "strange": 1 }));
    assert_eq!(text(&refused, "/errorType"), "stillpoint.invalid");
    for (function, trigger, parked) in [
        ("transfer", "amazon-mq", 2),
        ("transfer", "amazon-mq-null-priority", 1),
        ("commit", "envelope", 1),
        ("snapshot", "envelope", 1),
    ] {
        let answer = Emulator::start(function, &cloud.environment).invoke(&sample(trigger));
        assert_eq!(answer, json!({ "handled": 0, "later": 0, "parked": parked }), "{function} with {trigger}");
    }
}

#[test]
fn a_bootstrap_that_nobody_runs_on_lambda_says_so() {
    let done = std::process::Command::new(stillpoint_tests::lambda::bootstrap("restore")).env_clear().output();
    let done = done.expect("the bootstrap starts");
    assert_eq!(done.status.code(), Some(2));
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(told.contains("AWS_LAMBDA_RUNTIME_API is not set"), "{told}");
}

#[test]
fn one_process_serves_one_mapping_after_the_other() {
    let node = rabbitmq();
    let cloud = Cloud::new(&node);
    let commit = Arc::new(LambdaFunction::start("commit", &cloud.environment));
    for parked in 1..=2 {
        cloud.put("stillpoint.aws.commit", sample("envelope").to_string().as_bytes());
        let mapping = cloud.mapping_of("stillpoint.aws.commit", 10, &commit);
        until("the record is settled", || !mapping.outcomes().is_empty());
        assert_eq!(mapping.outcomes(), [answered(0, 0, 1)]);
        assert_eq!(cloud.dead().len(), parked);
    }
}
