//! Who may do what: IAM policies of the functions.

use std::{collections::BTreeSet, fs};

use serde_json::Value;
use stillpoint_tests::repository;

use crate::{
    stack::{Stack, points_to, strings},
    tools,
};

/// The only function that may delete.
const DELETER: &str = "collect";
/// What Lambda needs for every function, and for those with queues.
const SHARED: [(&str, &str); 2] = [("LambdaPolicy", "lambda"), ("QueuesPolicy", "queues")];
/// The bucket of the other half of a pair, where there is none.
const NO_OTHER: &str = "stillpoint-no-pair";
const NO_OTHER_KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/none";
/// Every function of the vault lives on these.
const STORE_ACTIONS: [&str; 3] = ["s3:ListBucket", "s3:GetObject", "s3:PutObject"];
/// Words in the names of actions that end something.
const ENDINGS: [&str; 9] =
    ["Delete", "Remove", "Deletion", "Disable", "Terminate", "Purge", "Expire", "Lifecycle", "BypassGovernance"];

/// The names of the files in infra/aws/policies.
pub fn files() -> BTreeSet<String> {
    let folder = fs::read_dir(repository().join("infra/aws/policies")).expect("the folder exists");
    folder.map(|entry| entry.expect("the folder can be read").file_name().to_string_lossy().into_owned()).collect()
}

/// One for each function, and the shared ones.
pub fn files_wanted(stack: &Stack) -> BTreeSet<String> {
    let own = stack.functions().into_iter().map(|function| format!("{}.json", function.name));
    own.chain(SHARED.map(|(_, file)| format!("{file}.json"))).collect()
}

/// Owner and statement of every policy of the stack. An inline policy's owner is its name: the function's.
fn statements(stack: &Stack) -> Vec<(String, &Value)> {
    let inline = stack.of_type("AWS::IAM::Role").flat_map(|(id, role)| {
        let policies = role["Policies"].as_array().into_iter().flatten();
        policies.map(move |policy| (policy["PolicyName"].as_str().unwrap_or(id), &policy["PolicyDocument"]))
    });
    let managed = stack.of_type("AWS::IAM::ManagedPolicy").map(|(id, policy)| (id, &policy["PolicyDocument"]));
    let separate = stack.of_type("AWS::IAM::Policy").map(|(id, policy)| (id, &policy["PolicyDocument"]));
    let documents = inline.chain(managed).chain(separate);
    let mut found = Vec::new();
    for (owner, document) in documents {
        let of_document = document["Statement"].as_array().into_iter().flatten();
        found.extend(of_document.map(|statement| (owner.to_owned(), statement)));
    }
    found
}

fn allowed(stack: &Stack) -> Vec<(String, &Value)> {
    statements(stack).into_iter().filter(|(_, statement)| statement["Effect"] == "Allow").collect()
}

/// Each function has a role of its own, with one policy named after it, from its own file, and the shared ones that it needs.
pub fn own_policies(stack: &Stack) -> Vec<String> {
    let mut faults = Vec::new();
    let mut roles = BTreeSet::new();
    let functions = stack.functions();
    for function in &functions {
        let name = &function.name;
        let role = &stack.resource(stack.role_of(function))["Properties"];
        if !roles.insert(stack.role_of(function)) {
            faults.push(format!("{name} shares its role with another function"));
        }
        let policies = role["Policies"].as_array().map_or(&[][..], Vec::as_slice);
        if policies.len() != 1 || policies[0]["PolicyName"] != name.as_str() || !is_of_file(&policies[0], name) {
            faults.push(format!("the role of {name} must have one policy: that of policies/{name}.json"));
        }
        let reads_queues =
            stack.of_type("AWS::Lambda::EventSourceMapping").any(|(_, one)| points_to(&one["FunctionName"], function.id));
        let wanted: Vec<&str> = SHARED.iter().map(|(id, _)| *id).filter(|id| reads_queues || *id != "QueuesPolicy").collect();
        let managed = role["ManagedPolicyArns"].as_array().map_or(&[][..], Vec::as_slice);
        if managed.len() != wanted.len() || !wanted.iter().all(|id| managed.iter().any(|arn| points_to(arn, id))) {
            faults.push(format!("the role of {name} must have {wanted:?} and no other managed policy"));
        }
    }
    faults
}

/// Whether a policy allows what a function's file does, on the same objects.
fn is_of_file(policy: &Value, name: &str) -> bool {
    let file: Value = serde_json::from_str(&tools::text(&format!("infra/aws/policies/{name}.json"))).expect("a policy is JSON");
    // What stands for no resource has its value in the expanded stack.
    let valued = |text: String| {
        text.replace("${AWS::Partition}", "aws").replace("${OtherBucket}", NO_OTHER).replace("${OtherKeyArn}", NO_OTHER_KEY)
    };
    let resources = |statement: &Value| -> Vec<String> {
        let several = statement["Resource"].as_array().map_or(std::slice::from_ref(&statement["Resource"]), Vec::as_slice);
        several.iter().flat_map(|one| strings(one.get("Fn::Sub").unwrap_or(one))).map(valued).collect()
    };
    let content = |document: &Value| -> Vec<(Value, Vec<String>, Vec<String>)> {
        let statements = document["Statement"].as_array().into_iter().flatten();
        statements.map(|one| (one["Sid"].clone(), strings(&one["Action"]), resources(one))).collect()
    };
    content(&file) == content(&policy["PolicyDocument"])
}

/// Deletes are for collect. Lambda ends the network interfaces that it made with the role of the function, whose own code may not.
pub fn deletes(stack: &Stack) -> Vec<String> {
    let mut faults = Vec::new();
    for (owner, statement) in allowed(stack).into_iter().filter(|(owner, _)| owner != DELETER) {
        for action in strings(&statement["Action"]).into_iter().filter(|action| ENDINGS.iter().any(|word| action.contains(word)))
        {
            if action != "ec2:DeleteNetworkInterface" || !is_denied_to_code(stack, &owner, &action) {
                faults.push(format!("{owner} may {action}; only {DELETER} may delete"));
            }
        }
    }
    faults
}

/// What collect may end, by hiding it, and under the one name that the buckets know: recovery points and packs, and history. Neither
/// ledgers and decisions of jobs nor machines, policies, settings, keys and alarms.
pub fn collects(stack: &Stack) -> Vec<String> {
    let mut faults = Vec::new();
    let mut deletes = 0;
    for (_, statement) in allowed(stack).into_iter().filter(|(owner, _)| owner == DELETER) {
        let actions = strings(&statement["Action"]);
        if actions.iter().any(|action| ENDINGS.iter().any(|word| action.contains(word))) {
            deletes += 1;
            let wanted = [
                "packs/*",
                "points/*",
                "collect/*",
                "slots/*",
                "ticks/*",
                "fleet/*",
                "snapshots/*",
                "jobs/*/plan",
                "jobs/*/done/*",
                "jobs/*/groups/*",
            ];
            let wanted = wanted.map(|what| format!("${{VaultBucket.Arn}}/vault/{what}"));
            if actions != ["s3:DeleteObject"] || strings(&statement["Resource"]) != wanted {
                faults.push(format!("{DELETER} may {} {}", actions.join(", "), statement["Resource"]));
            }
        }
    }
    let roles = stack.of_type("AWS::IAM::Role").filter(|(_, role)| role["Policies"][0]["PolicyName"] == DELETER);
    let named = roles.filter(|(_, role)| role["RoleName"] == "stillpoint-collect").count();
    if deletes != 1 || named != 1 {
        faults.push(format!(
            "{DELETER} must have one statement that deletes, and a role of the name that the bucket's policy lets"
        ));
    }
    faults
}

/// Whether the same policy denies an action to whatever runs inside a function.
fn is_denied_to_code(stack: &Stack, owner: &str, action: &str) -> bool {
    statements(stack).iter().any(|(other, statement)| {
        let source = statement["Condition"]["ArnLike"]["lambda:SourceFunctionArn"].as_str().unwrap_or_default();
        other == owner
            && statement["Effect"] == "Deny"
            && statement["Resource"] == "*"
            && strings(&statement["Action"]).iter().any(|denied| denied == action)
            && stack.functions().iter().all(|function| {
                let name = function.properties["FunctionName"].as_str().unwrap_or_default();
                source
                    .strip_suffix('*')
                    .and_then(|start| start.rsplit_once(':'))
                    .is_some_and(|(_, start)| name.starts_with(start))
            })
    })
}

/// Whoever writes to the vault must ask the store to refuse a name that exists, and has no other way to write.
pub fn overwrites(stack: &Stack) -> Vec<String> {
    let mut faults = Vec::new();
    for (owner, statement) in allowed(stack) {
        let actions = strings(&statement["Action"]);
        let writes = actions.iter().any(|action| action == "s3:PutObject");
        if writes && statement["Condition"]["Null"]["s3:if-none-match"] != "false" {
            faults.push(format!("{owner} may put objects without If-None-Match"));
        }
        let store = actions.iter().filter(|action| action.starts_with("s3:"));
        let other = store.filter(|action| !STORE_ACTIONS.contains(&action.as_str()) && owner != DELETER);
        faults.extend(other.map(|action| format!("{owner} may {action}; a function lists, reads and creates objects")));
    }
    faults
}

/// Every action is spelled out, and every resource but Lambda's network interfaces, which have no name before they exist.
pub fn wildcards(stack: &Stack) -> Vec<String> {
    let mut faults = Vec::new();
    for (owner, statement) in allowed(stack) {
        let actions = strings(&statement["Action"]);
        faults.extend(actions.iter().filter(|action| action.contains('*')).map(|action| format!("{owner} may {action}")));
        if actions.is_empty() || statement.get("NotAction").is_some() || statement.get("NotResource").is_some() {
            faults.push(format!("{owner} has a statement that names no actions or resources"));
        }
        let is_network = actions.iter().all(|action| action.starts_with("ec2:"));
        let resources = strings(&statement["Resource"]);
        if resources.iter().any(|resource| resource == "*") && !(owner == "LambdaPolicy" && is_network) {
            faults.push(format!("{owner} may {} everything", actions.join(", ")));
        }
        let whole_bucket = resources.iter().any(|resource| resource.ends_with(".Arn}/*") || resource.ends_with("/vault/*"));
        if whole_bucket {
            faults.push(format!("{owner} may {} the whole vault", actions.join(", ")));
        }
    }
    faults
}
