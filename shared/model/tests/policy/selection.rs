//! Which policy a machine is under.

use serde_json::{Value, json};
use stillpoint_model::{
    PolicyName,
    policy::{Assignment, ItemFacts, Policy, assign},
};

fn named(name: &str) -> PolicyName {
    name.parse().expect("a name")
}

fn policy(name: &str, applies_to: &Value) -> Policy {
    serde_json::from_value(json!({ "name": name, "applies_to": applies_to, "retention": { "keep_last": 1 } }))
        .expect("the policy parses")
}

fn item(name: &str, tags: &[(&str, &str)], policy: Option<&str>) -> ItemFacts {
    let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ItemFacts { name: name.parse().expect("a name"), tags, policy: policy.map(named) }
}

#[test]
fn a_machine_is_chosen_by_its_name_by_all_tags_or_by_its_own_record() {
    let policies = [
        policy("by-name", &json!({ "names": ["web-01", "web-02"] })),
        policy("by-tags", &json!({ "tags": { "env": "prod", "role": "db" } })),
        policy("by-record", &json!({})),
    ];
    let cases = [
        (item("web-01", &[], None), Assignment::Policy(named("by-name"))),
        (item("db-01", &[("role", "db"), ("env", "prod"), ("rack", "7")], None), Assignment::Policy(named("by-tags"))),
        (item("db-02", &[("role", "db")], None), Assignment::None),
        (item("db-03", &[("role", "db"), ("env", "test")], None), Assignment::None),
        (item("x", &[], Some("by-record")), Assignment::Policy(named("by-record"))),
        (item("web-02", &[], Some("by-name")), Assignment::Policy(named("by-name"))),
        (item("y", &[], Some("gone")), Assignment::Unknown(named("gone"))),
    ];
    let (items, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    assert_eq!(assign(&items, &policies), expected);
}

#[test]
fn two_policies_that_choose_one_machine_are_a_conflict_however_they_choose() {
    let policies = [
        policy("z-by-tags", &json!({ "tags": { "env": "prod" } })),
        policy("a-by-name", &json!({ "names": ["web-01"] })),
        policy("by-record", &json!({})),
    ];
    let items = [
        item("web-01", &[("env", "prod")], None),
        item("web-02", &[("env", "prod")], Some("by-record")),
        item("web-03", &[("env", "prod")], None),
    ];
    let expected = [
        Assignment::Conflict(vec![named("a-by-name"), named("z-by-tags")]),
        Assignment::Conflict(vec![named("by-record"), named("z-by-tags")]),
        Assignment::Policy(named("z-by-tags")),
    ];
    assert_eq!(assign(&items, &policies), expected);
}

#[test]
fn without_policies_no_machine_is_under_one() {
    assert_eq!(assign(&[item("web-01", &[], None)], &[]), [Assignment::None]);
}

#[test]
fn one_edit_moves_all_of_200_machines() {
    let items: Vec<_> = (0..200).map(|n| item(&format!("vm-{n}"), &[("env", "prod")], None)).collect();
    let before = [policy("p", &json!({ "tags": { "env": "prod" } })), policy("q", &json!({}))];
    assert_eq!(assign(&items, &before), vec![Assignment::Policy(named("p")); 200]);
    let after = [policy("p", &json!({})), policy("q", &json!({ "tags": { "env": "prod" } }))];
    assert_eq!(assign(&items, &after), vec![Assignment::Policy(named("q")); 200]);
}
