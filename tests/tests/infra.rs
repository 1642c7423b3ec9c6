//! What `infra/` deploys is what the design allows. The AWS templates are expanded as AWS would expand them, and every rule is shown
//! a spoiled copy of the result, so that no rule can pass by looking at nothing. Nothing here reaches a network.

#[path = "infra/alarms.rs"]
mod alarms;
#[path = "infra/hosts.rs"]
mod hosts;
#[path = "infra/kubernetes.rs"]
mod kubernetes;
#[path = "infra/policies.rs"]
mod policies;
#[path = "infra/protection.rs"]
mod protection;
#[path = "infra/samples.rs"]
mod samples;
#[path = "infra/stack.rs"]
mod stack;
#[path = "infra/tools.rs"]
mod tools;
#[path = "infra/triggers.rs"]
mod triggers;

use stack::{Stack, expanded, functions_of_the_repository};

/// Faults that a rule finds, none in what is deployed.
type Rule = fn(&Stack) -> Vec<String>;

fn assert_holds(rule: Rule, stack: &Stack) {
    let faults = rule(stack);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn templates_are_clean_as_written_and_as_expanded() {
    let faults = &expanded().faults;
    assert!(faults.is_empty(), "cfn-lint says\n{}\n", faults.join("\n"));
}

#[test]
fn every_function_of_the_repository_is_deployed() {
    // The mappings and alarms below are compared with the broker's topology; it must know the same functions.
    let mut known: Vec<&str> = stillpoint_events::Function::ALL.iter().map(|function| function.as_str()).collect();
    known.sort_unstable();
    assert_eq!(known, functions_of_the_repository());
    let deployed: Vec<String> = expanded().template.functions().iter().map(|function| function.name.clone()).collect();
    assert_eq!(deployed, functions_of_the_repository(), "infra/README.md says how to add a function to infra/aws/template.yaml");
}

#[test]
fn every_function_has_its_own_policy_file() {
    assert_holds(policies::own_policies, &expanded().template);
    assert_eq!(policies::files(), policies::files_wanted(&expanded().template), "files in infra/aws/policies");
}

#[test]
fn only_collect_may_delete() {
    assert_holds(policies::deletes, &expanded().template);
    assert_holds(policies::collects, &expanded().template);
}

#[test]
fn nobody_may_overwrite() {
    assert_holds(policies::overwrites, &expanded().template);
}

#[test]
fn no_permission_has_a_wildcard_for_its_action() {
    assert_holds(policies::wildcards, &expanded().template);
}

#[test]
fn every_function_is_triggered() {
    assert_holds(triggers::queues, &expanded().template);
    assert_holds(triggers::timer, &expanded().template);
}

#[test]
fn every_function_runs_where_and_how_it_should() {
    assert_holds(triggers::settings, &expanded().template);
}

#[test]
fn every_function_has_its_alarms() {
    assert_holds(alarms::per_function, &expanded().template);
    assert_holds(alarms::silence, &expanded().template);
}

#[test]
fn the_vault_is_protected_in_both_regions() {
    for stack in [&expanded().template, &expanded().paired] {
        assert_holds(protection::bucket, stack);
        assert_holds(protection::bucket_policy, stack);
        assert_holds(protection::key, stack);
    }
    for name in ["VaultKey", "VaultBucket", "VaultBucketPolicy"] {
        assert_eq!(expanded().template.resource(name), expanded().paired.resource(name), "{name} differs between the regions");
    }
}

#[test]
fn the_broker_is_private() {
    assert_holds(protection::broker, &expanded().template);
}
