//! What starts each function, and how it runs.

use std::collections::BTreeSet;

use serde_json::Value;
use stillpoint_broker::Topology;

use crate::stack::{Function, Stack, points_to, strings};

/// The site that the template serves by default.
pub const SITE: &str = "aws";
/// Functions that hold packs in memory for minutes.
const HEAVY: [&str; 4] = ["transfer", "restore", "verify", "replicate"];
/// Lambda may repeat an Amazon MQ invocation that takes longer.
const SECONDS_MAX: u64 = 14 * 60;

/// Everything that the program declares on the broker for a site.
pub fn topology(site: &str) -> Topology {
    Topology::of(site.parse().expect("it is a site"))
}

/// Run by the timer, not by a queue.
pub fn is_timed(function: &Function<'_>) -> bool {
    queues_of(&function.name, SITE).is_empty()
}

/// The queues of a function at a site.
pub fn queues_of(name: &str, site: &str) -> BTreeSet<String> {
    let topology = topology(site);
    let function = name.parse().unwrap_or_else(|error| panic!("{error}"));
    topology.places_of(function).map(|place| place.queue.clone()).collect()
}

fn mappings<'a>(stack: &'a Stack, function: &str) -> Vec<&'a Value> {
    let all = stack.of_type("AWS::Lambda::EventSourceMapping");
    all.filter(|(_, mapping)| points_to(&mapping["FunctionName"], function)).map(|(_, mapping)| mapping).collect()
}

/// One mapping for each queue, and none for any other.
pub fn queues(stack: &Stack) -> Vec<String> {
    let mut faults = Vec::new();
    for function in stack.functions() {
        let mappings = mappings(stack, function.id);
        let read: Vec<String> = mappings.iter().flat_map(|mapping| strings(&mapping["Queues"])).collect();
        let wanted = queues_of(&function.name, SITE);
        if read.len() != wanted.len() || read.iter().cloned().collect::<BTreeSet<_>>() != wanted {
            faults.push(format!("{} reads {read:?}, and should read {wanted:?}", function.name));
        }
        faults.extend(mappings.into_iter().filter_map(|mapping| mapping_fault(&function, mapping)));
    }
    faults
}

fn mapping_fault(function: &Function<'_>, mapping: &Value) -> Option<String> {
    let access = mapping["SourceAccessConfigurations"].as_array().map_or(&[][..], Vec::as_slice);
    let has_login = access.iter().any(|one| one["Type"] == "BASIC_AUTH" && points_to(&one["URI"], "BrokerSecret"));
    let has_host = access.iter().any(|one| one["Type"] == "VIRTUAL_HOST" && one["URI"] == "/");
    // A batch is repeated as a whole, so what takes minutes comes in small ones.
    let batch_max = if HEAVY.contains(&function.name.as_str()) { 4 } else { 10 };
    let is_small = mapping["BatchSize"].as_u64().is_some_and(|size| (1..=batch_max).contains(&size));
    let one_queue = strings(&mapping["Queues"]).len() == 1;
    let fine = has_login && has_host && is_small && one_queue && points_to(&mapping["EventSourceArn"], "Broker");
    (!fine).then(|| {
        format!("a mapping of {} lacks broker, login, virtual host, its one queue or a small batch: {mapping}", function.name)
    })
}

/// The timer runs its function each minute, and may do nothing else.
pub fn timer(stack: &Stack) -> Vec<String> {
    let mut faults = Vec::new();
    for function in stack.functions().iter().filter(|function| is_timed(function)) {
        let schedules = stack.of_type("AWS::Scheduler::Schedule");
        let of_function = schedules.filter(|(_, schedule)| points_to(&schedule["Target"]["Arn"], function.id));
        let minutely: Vec<&Value> =
            of_function.map(|(_, one)| one).filter(|one| one["ScheduleExpression"] == "rate(1 minute)").collect();
        let [schedule] = minutely[..] else {
            faults.push(format!("{} must have one timer of a minute", function.name));
            continue;
        };
        let role = schedule["Target"]["RoleArn"]["Fn::GetAtt"][0].as_str().unwrap_or_default();
        let statements = &stack.resource(role)["Properties"]["Policies"][0]["PolicyDocument"]["Statement"];
        let statements = statements.as_array().map_or(&[][..], Vec::as_slice);
        let runs_it =
            |one: &Value| strings(&one["Action"]) == ["lambda:InvokeFunction"] && points_to(&one["Resource"], function.id);
        if statements.is_empty() || !statements.iter().all(runs_it) {
            faults.push(format!("the timer's role may do more, or less, than run {}", function.name));
        }
    }
    faults
}

/// Runtime, time, memory, network and environment.
pub fn settings(stack: &Stack) -> Vec<String> {
    stack.functions().iter().flat_map(setting_faults).collect()
}

fn setting_faults(function: &Function<'_>) -> Vec<String> {
    let (name, properties) = (&function.name, function.properties);
    let variables = &properties["Environment"]["Variables"];
    // An object in memory is at most 64 MiB; three at once and the page of each fit 512 MiB only where nothing is packed.
    let memory_min = if HEAVY.contains(&name.as_str()) { 1024 } else { 256 };
    let code = properties["Code"]["S3Key"].as_str().unwrap_or_default();
    let broker = &variables["STILLPOINT_BROKER"]["Fn::Sub"];
    let checks = [
        (properties["Runtime"] == "provided.al2023" && properties["Handler"] == "bootstrap", "runtime and handler"),
        (code.trim_end_matches('/').ends_with(&format!("target/lambda/{name}")), "the code that cargo lambda build makes"),
        (properties["Timeout"].as_u64().is_some_and(|seconds| (30..=SECONDS_MAX).contains(&seconds)), "at most 14 minutes"),
        (properties["MemorySize"].as_u64().is_some_and(|mebibytes| mebibytes >= memory_min), "enough memory"),
        (properties["VpcConfig"]["SecurityGroupIds"][0]["Ref"] == "FunctionGroup", "the functions' network"),
        (variables["STILLPOINT_VAULT"] == "s3://${VaultBucket}/vault", "STILLPOINT_VAULT"),
        (points_to(&variables["STILLPOINT_KMS_KEY"], "VaultKey"), "STILLPOINT_KMS_KEY"),
        (variables["STILLPOINT_SITE"] == "aws" && variables["STILLPOINT_LOG"] == "info", "STILLPOINT_SITE and STILLPOINT_LOG"),
        (broker[0].as_str().is_some_and(is_secret_url), "STILLPOINT_BROKER over TLS with the password of Secrets Manager"),
        // S3 refuses objects without a checksum in a bucket with a default lock.
        (variables["AWS_CHECKSUM_ALGORITHM"] == "sha256", "AWS_CHECKSUM_ALGORITHM"),
    ];
    checks.iter().filter(|(fine, _)| !fine).map(|(_, what)| format!("{name} lacks {what}")).collect()
}

fn is_secret_url(url: &str) -> bool {
    let password = "{{resolve:secretsmanager:${BrokerSecret}:SecretString:password}}";
    url == format!("amqps://stillpoint:{password}@${{Endpoint}}/%2F")
}
