//! What protects the vault's bucket and key, and the broker.

use serde_json::{Value, json};

use crate::stack::{Stack, points_to, strings};

fn bucket_properties(stack: &Stack) -> &Value {
    &stack.resource("VaultBucket")["Properties"]
}

/// What is wrong with a list of checks.
fn failed(checks: &[(bool, &str)]) -> Vec<String> {
    checks.iter().filter(|(fine, _)| !fine).map(|(_, what)| (*what).to_owned()).collect()
}

/// Survives the stack: deleting a stack must not delete what it protects.
fn is_kept(stack: &Stack, id: &str) -> bool {
    let resource = stack.resource(id);
    resource["DeletionPolicy"] == "Retain" && resource["UpdateReplacePolicy"] == "Retain"
}

/// Versions, lock, encryption, no public access, and a lifecycle that never ends a current object.
pub fn bucket(stack: &Stack) -> Vec<String> {
    let bucket = bucket_properties(stack);
    let lock = &bucket["ObjectLockConfiguration"];
    let retention = &lock["Rule"]["DefaultRetention"];
    let public = &bucket["PublicAccessBlockConfiguration"];
    let closed = ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"];
    let encryption = &bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0];
    let default = &encryption["ServerSideEncryptionByDefault"];
    let rules = bucket["LifecycleConfiguration"]["Rules"].as_array().map_or(&[][..], Vec::as_slice);
    let ends_current = ["ExpirationInDays", "ExpirationDate", "Transition", "Transitions"];
    failed(&[
        (stack.of_type("AWS::S3::Bucket").count() == 1, "exactly one bucket"),
        (is_kept(stack, "VaultBucket") && is_kept(stack, "VaultBucketPolicy"), "the bucket is kept when the stack goes"),
        (bucket["VersioningConfiguration"]["Status"] == "Enabled", "versions"),
        (bucket["ObjectLockEnabled"] == true && lock["ObjectLockEnabled"] == "Enabled", "object lock"),
        (retention["Mode"].is_string() && retention["Days"].as_u64().is_some_and(|days| days >= 1), "a default lock"),
        (closed.iter().all(|key| public[key] == true), "no public access"),
        (bucket["OwnershipControls"]["Rules"][0]["ObjectOwnership"] == "BucketOwnerEnforced", "no access lists"),
        (default["SSEAlgorithm"] == "aws:kms" && points_to(&default["KMSMasterKeyID"], "VaultKey"), "encryption with the key"),
        (encryption["BucketKeyEnabled"] == true, "a bucket key, else each object costs a call of KMS"),
        (rules.iter().any(|rule| rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 1), "unfinished uploads end"),
        (rules.iter().all(|rule| ends_current.iter().all(|key| rule.get(key).is_none())), "no rule ends a current object"),
    ])
}

fn denies<'a>(stack: &'a Stack, action: &'a str) -> impl Iterator<Item = &'a Value> {
    let document = &stack.resource("VaultBucketPolicy")["Properties"]["PolicyDocument"];
    let statements = document["Statement"].as_array().into_iter().flatten();
    let to_all = statements.filter(|statement| statement["Effect"] == "Deny" && statement["Principal"] == "*");
    to_all.filter(move |statement| {
        let resources = strings(&statement["Resource"]);
        // The probe of a vault in the making may go again.
        let covers = resources.iter().any(|resource| resource == "${VaultBucket.Arn}/*")
            || statement["NotResource"] == "${VaultBucket.Arn}/vault/probe-*/create-if-absent";
        covers && strings(&statement["Action"]).iter().any(|denied| denied == action)
    })
}

/// TLS only, no overwriting, no deleting but by collect, no erasing of versions at all; and it grants nothing.
pub fn bucket_policy(stack: &Stack) -> Vec<String> {
    let document = &stack.resource("VaultBucketPolicy")["Properties"]["PolicyDocument"];
    let grants = document["Statement"].as_array().into_iter().flatten().any(|statement| statement["Effect"] != "Deny");
    let no_tls = json!({"Bool": {"aws:SecureTransport": "false"}});
    let old_tls = json!({"NumericLessThan": {"s3:TlsVersion": "1.2"}});
    let unconditional = json!({"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}});
    let collect = json!({"ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/stillpoint-collect"}});
    let denies_if = |action: &str, condition: &Value| denies(stack, action).any(|one| one["Condition"] == *condition);
    let denies_always = |action: &str| denies(stack, action).any(|one| one.get("Condition").is_none());
    failed(&[
        (!grants, "the bucket policy grants nothing"),
        (denies_if("s3:*", &no_tls) && denies_if("s3:*", &old_tls), "TLS 1.2 or newer"),
        (denies_if("s3:PutObject", &unconditional), "objects are created, never overwritten"),
        (denies_if("s3:DeleteObject", &collect), "only collect deletes"),
        (denies_always("s3:DeleteObjectVersion"), "nobody erases versions"),
        (denies_always("s3:BypassGovernanceRetention"), "nobody shortens a lock"),
    ])
}

/// The key rotates, survives the stack, and is the account's alone.
pub fn key(stack: &Stack) -> Vec<String> {
    let key = &stack.resource("VaultKey")["Properties"];
    let statements = key["KeyPolicy"]["Statement"].as_array().map_or(&[][..], Vec::as_slice);
    let account = json!({"AWS": "arn:aws:iam::123456789012:root"});
    failed(&[
        (is_kept(stack, "VaultKey"), "the key is kept when the stack goes"),
        (key["EnableKeyRotation"] == true, "rotation of the key"),
        (key["PendingWindowInDays"] == 30, "a month to change one's mind about ending the key"),
        (!statements.is_empty() && statements.iter().all(|one| one["Principal"] == account), "the key is the account's alone"),
    ])
}

/// Reached from the functions and by Lambda's own readers only, over TLS, with a password that nobody chose.
pub fn broker(stack: &Stack) -> Vec<String> {
    let broker = &stack.resource("Broker")["Properties"];
    let password = "{{resolve:secretsmanager:${BrokerSecret}:SecretString:password}}";
    let comes_in = |group: &str| -> Vec<&Value> {
        let rules = stack.of_type("AWS::EC2::SecurityGroupIngress").map(|(_, rule)| rule);
        rules.filter(|rule| points_to(&rule["GroupId"], group)).collect()
    };
    let is_amqps = |rule: &&Value| rule["FromPort"] == 5671 && rule["ToPort"] == 5671 && rule.get("CidrIp").is_none();
    let from = |group: &str| comes_in("BrokerGroup").iter().any(|rule| points_to(&rule["SourceSecurityGroupId"], group));
    let is_open = |id: &str| stack.resource(id)["Properties"].get("SecurityGroupIngress").is_some();
    failed(&[
        (broker["EngineType"] == "RABBITMQ" && broker["PubliclyAccessible"] == false, "a private RabbitMQ"),
        (broker["Users"][0]["Password"] == password, "a password from Secrets Manager"),
        (
            stack.resource("BrokerSecret")["Properties"]["GenerateSecretString"]["ExcludePunctuation"] == true,
            "a password for URLs",
        ),
        (broker["Logs"]["General"] == true, "logs of the broker"),
        (comes_in("BrokerGroup").iter().all(is_amqps), "nothing but AMQP over TLS reaches the broker"),
        (from("FunctionGroup") && from("BrokerGroup"), "functions and Lambda's readers reach the broker"),
        (comes_in("FunctionGroup").is_empty(), "nothing reaches the functions"),
        (!is_open("FunctionGroup") && !is_open("BrokerGroup"), "no group opens itself"),
    ])
}
