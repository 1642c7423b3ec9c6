//! Spoiled stacks: each rule finds what it is there for, and nothing else in what is deployed.

use serde_json::{Value, json};

use crate::{
    Rule, alarms, policies, protection,
    stack::{Stack, expanded},
    tools, triggers,
};

/// The deployed stack with the value at `place` (below Resources) replaced, or removed when `value` is null.
fn spoiled(place: &str, value: &Value) -> Stack {
    let mut stack = expanded().template.clone();
    let (parent, key) = place.rsplit_once('/').expect("a place below a resource");
    let parent = stack.0.pointer_mut(&format!("/Resources/{parent}")).unwrap_or_else(|| panic!("{place} does not exist"));
    match (parent, value) {
        (Value::Object(fields), Value::Null) => assert!(fields.remove(key).is_some(), "{place} does not exist"),
        (Value::Object(fields), value) => drop(fields.insert(key.to_owned(), value.clone())),
        (Value::Array(parts), Value::Null) => drop(parts.remove(key.parse().expect("a position"))),
        (Value::Array(parts), value) if key == "-" => parts.push(value.clone()),
        (Value::Array(parts), value) => parts[key.parse::<usize>().expect("a position")] = value.clone(),
        (other, _) => panic!("{place} is below {other}"),
    }
    stack
}

fn without(resource: &str) -> Stack {
    let mut stack = expanded().template.clone();
    let removed = stack.0["Resources"].as_object_mut().and_then(|all| all.remove(resource));
    assert!(removed.is_some(), "{resource} does not exist");
    stack
}

fn assert_found(rule: Rule, spoilt: &Stack, what: &str) {
    let faults = rule(spoilt);
    assert!(faults.iter().any(|fault| fault.contains(what)), "'{what}' is not found: {faults:?}");
}

/// Rules with a place to spoil, a value for it, and a word of what must be said.
fn assert_all_found(cases: &[(Rule, &str, Value, &str)]) {
    for (rule, place, value, what) in cases {
        assert_found(*rule, &spoiled(place, value), what);
    }
}

#[test]
fn a_policy_that_allows_too_much_is_found() {
    let statements = "TransferRole/Properties/Policies/0/PolicyDocument/Statement";
    let allow = |actions: Value| json!({"Effect": "Allow", "Action": actions, "Resource": "${VaultBucket.Arn}/vault/packs/*"});
    let more = format!("{statements}/-");
    let of_lambda = "LambdaPolicy/Properties/PolicyDocument/Statement";
    assert_all_found(&[
        (policies::deletes, &more, allow(json!("s3:DeleteObject")), "transfer may s3:DeleteObject"),
        (policies::deletes, &more, allow(json!(["s3:GetObject", "s3:DeleteObjectVersion"])), "DeleteObjectVersion"),
        (policies::deletes, &more, allow(json!("kms:ScheduleKeyDeletion")), "ScheduleKeyDeletion"),
        (policies::deletes, &more, allow(json!("s3:PutLifecycleConfiguration")), "Lifecycle"),
        (policies::deletes, &format!("{of_lambda}/2"), Value::Null, "LambdaPolicy may ec2:DeleteNetworkInterface"),
        (policies::overwrites, &more, allow(json!("s3:PutObject")), "without If-None-Match"),
        (policies::overwrites, &format!("{statements}/2/Condition"), Value::Null, "without If-None-Match"),
        (policies::overwrites, &more, allow(json!("s3:PutObjectRetention")), "s3:PutObjectRetention"),
        (policies::wildcards, &more, allow(json!("s3:*")), "transfer may s3:*"),
        (policies::wildcards, &more, allow(json!(["s3:Get*"])), "s3:Get*"),
        (policies::wildcards, &format!("{statements}/1/Resource"), json!("*"), "everything"),
        (policies::wildcards, &format!("{statements}/1/Resource"), json!("${VaultBucket.Arn}/*"), "the whole vault"),
        (
            policies::wildcards,
            &more,
            json!({"Effect": "Allow", "NotAction": "s3:DeleteObject", "Resource": "a"}),
            "names no actions",
        ),
        (policies::own_policies, "TransferRole/Properties/Policies/0/PolicyName", json!("commit"), "role of transfer"),
        (
            policies::own_policies,
            &format!("{statements}/1/Resource/6"),
            json!("${VaultBucket.Arn}/vault/keys/*"),
            "role of transfer",
        ),
        (policies::own_policies, &more, allow(json!("s3:GetObject")), "role of transfer"),
        (policies::own_policies, "TransferRole/Properties/ManagedPolicyArns/1", Value::Null, "QueuesPolicy"),
        (
            policies::own_policies,
            "TransferFunction/Properties/Role",
            json!({"Fn::GetAtt": ["CommitRole", "Arn"]}),
            "shares its role",
        ),
    ]);
}

#[test]
fn collect_and_only_collect_may_delete() {
    let delete = json!({"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": "${VaultBucket.Arn}/vault/packs/*"});
    let policy = |name: &str| {
        json!({"Type": "AWS::IAM::Role", "Properties": {
            "Policies": [{"PolicyName": name, "PolicyDocument": {"Statement": [delete]}}]}})
    };
    for (name, faults) in [("collect", 0), ("prune", 1)] {
        let mut stack = expanded().template.clone();
        stack.0["Resources"]["AnotherRole"] = policy(name);
        assert_eq!(policies::deletes(&stack).len(), faults, "{name}");
    }
    let statement = "CollectRole/Properties/Policies/0/PolicyDocument/Statement/3";
    assert_all_found(&[
        (policies::collects, "CollectRole/Properties/RoleName", json!("stillpoint-collector"), "of the name"),
        (policies::collects, &format!("{statement}/Action"), json!(["s3:DeleteObject", "s3:DeleteObjectVersion"]), "Version"),
        (policies::collects, &format!("{statement}/Resource/1"), json!("${VaultBucket.Arn}/vault/p*"), "may s3:DeleteObject"),
        (policies::collects, &format!("{statement}/Resource/-"), json!("${VaultBucket.Arn}/vault/jobs/*"), "vault/jobs"),
        (policies::collects, statement, Value::Null, "one statement"),
    ]);
}

#[test]
fn a_trigger_that_is_wrong_is_found() {
    assert_found(triggers::queues, &without("RestoreFunctionShard3"), "restore reads");
    assert_found(triggers::timer, &without("ScheduleFunctionMinute"), "one timer of a minute");
    let mapping = "CommitFunctionQueue/Properties";
    let of_timer = "ScheduleFunctionMinuteRole/Properties/Policies/0/PolicyDocument/Statement/0";
    assert_all_found(&[
        (triggers::queues, &format!("{mapping}/Queues/0"), json!("stillpoint.aws.comit"), "commit reads"),
        (triggers::queues, "TransferFunctionShard1/Properties/Queues/0", json!("stillpoint.aws.transfer.0"), "transfer reads"),
        (triggers::queues, "TransferFunctionShard1/Properties/BatchSize", json!(100), "a small batch"),
        (triggers::queues, &format!("{mapping}/SourceAccessConfigurations/1"), Value::Null, "virtual host"),
        (triggers::queues, &format!("{mapping}/SourceAccessConfigurations/0"), Value::Null, "login"),
        (triggers::timer, "ScheduleFunctionMinute/Properties/ScheduleExpression", json!("rate(1 hour)"), "a minute"),
        (triggers::timer, &format!("{of_timer}/Action"), json!("lambda:*"), "more, or less"),
        (triggers::settings, "CommitFunction/Properties/Timeout", json!(900), "14 minutes"),
        (triggers::settings, "TransferFunction/Properties/MemorySize", json!(128), "memory"),
        (triggers::settings, "CommitFunction/Properties/Code/S3Key", json!("../../target/lambda/restore/"), "the code"),
        (triggers::settings, "CommitFunction/Properties/Environment/Variables/STILLPOINT_VAULT", Value::Null, "STILLPOINT_VAULT"),
        (
            triggers::settings,
            "CommitFunction/Properties/Environment/Variables/STILLPOINT_BROKER/Fn::Sub/0",
            json!("amqp://guest:guest@${Endpoint}/%2F"),
            "over TLS",
        ),
    ]);
}

#[test]
fn an_alarm_that_is_missing_is_found() {
    for (alarm, what) in
        [("CommitErrors", "Errors of commit"), ("RestoreThrottles", "Throttles of restore"), ("SnapshotDead", "snapshot")]
    {
        assert_found(alarms::per_function, &without(alarm), what);
    }
    assert_found(alarms::silence, &without("ScheduleSilent"), "does not run");
    assert_all_found(&[
        (
            alarms::per_function,
            "TransferDead/Properties/Dimensions/2/Value",
            json!("stillpoint.aws.transfer"),
            "dead letters of transfer",
        ),
        (alarms::per_function, "CommitErrors/Properties/AlarmActions", json!([]), "Errors of commit"),
        (alarms::per_function, "CommitErrors/Properties/Threshold", json!(10), "Errors of commit"),
        (alarms::silence, "ScheduleSilent/Properties/TreatMissingData", json!("notBreaching"), "does not run"),
    ]);
}

#[test]
fn a_vault_without_protection_is_found() {
    let bucket = "VaultBucket/Properties";
    let statements = "VaultBucketPolicy/Properties/PolicyDocument/Statement";
    let grant = json!({"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "${VaultBucket.Arn}/*"});
    assert_all_found(&[
        (protection::bucket, "VaultBucket/DeletionPolicy", json!("Delete"), "kept"),
        (protection::bucket, &format!("{bucket}/VersioningConfiguration/Status"), json!("Suspended"), "versions"),
        (protection::bucket, &format!("{bucket}/ObjectLockEnabled"), json!(false), "object lock"),
        (protection::bucket, &format!("{bucket}/ObjectLockConfiguration/Rule"), Value::Null, "a default lock"),
        (protection::bucket, &format!("{bucket}/PublicAccessBlockConfiguration/BlockPublicPolicy"), json!(false), "public"),
        (protection::bucket, &format!("{bucket}/BucketEncryption"), Value::Null, "encryption"),
        (protection::bucket, &format!("{bucket}/LifecycleConfiguration/Rules/0"), Value::Null, "unfinished uploads"),
        (protection::bucket, &format!("{bucket}/LifecycleConfiguration/Rules/1/ExpirationInDays"), json!(30), "current object"),
        (protection::bucket_policy, &format!("{statements}/0"), Value::Null, "TLS"),
        (protection::bucket_policy, &format!("{statements}/2/Condition/Null"), Value::Null, "never overwritten"),
        (protection::bucket_policy, &format!("{statements}/3"), Value::Null, "only collect"),
        (protection::bucket_policy, &format!("{statements}/3/NotResource"), json!("${VaultBucket.Arn}/vault/p*"), "only collect"),
        (protection::bucket_policy, &format!("{statements}/4/Action/0"), Value::Null, "versions"),
        (protection::bucket_policy, &format!("{statements}/-"), grant, "grants nothing"),
        (protection::key, "VaultKey/Properties/EnableKeyRotation", json!(false), "rotation"),
        (protection::key, "VaultKey/Properties/KeyPolicy/Statement/0/Principal", json!("*"), "account's alone"),
        (protection::broker, "Broker/Properties/PubliclyAccessible", json!(true), "private"),
        (protection::broker, "Broker/Properties/Users/0/Password", json!("guest-guest-guest"), "Secrets Manager"),
        (protection::broker, "BrokerFromFunctions/Properties/CidrIp", json!("0.0.0.0/0"), "AMQP"),
    ]);
}

#[test]
fn a_misspelt_template_is_found() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_str().expect("its name is text");
    let template = tools::text("infra/aws/paired.yaml").replace("BucketKeyEnabled", "BucketKeyEnabeld");
    std::fs::write(folder.path().join("template.yaml"), &template).expect("the folder takes a file");
    std::fs::write(folder.path().join("paired.yaml"), &template).expect("the folder takes a file");
    let faults = tools::python("expand.py", &[path])["faults"].to_string();
    assert!(faults.contains("BucketKeyEnabeld"), "cfn-lint finds it: {faults}");
}
