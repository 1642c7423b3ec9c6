//! The manifests: valid for their kinds, every function there, closed to everything it does not need, and scaled by its own queues.

use std::{collections::BTreeSet, sync::OnceLock};

use serde_json::{Value, json};

use crate::{
    stack::{functions_of_the_repository, strings},
    tools, triggers,
};

/// The site of settings.yaml.
const SITE: &str = "cluster";

type Rule = fn(&[Value]) -> Vec<String>;

fn manifests() -> &'static Value {
    static MANIFESTS: OnceLock<Value> = OnceLock::new();
    MANIFESTS.get_or_init(|| tools::python("manifests.py", &["infra/kubernetes"]))
}

fn objects() -> Vec<Value> {
    manifests()["objects"].as_array().expect("a list").clone()
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn names(objects: &[Value], kind: &str) -> BTreeSet<String> {
    of_kind(objects, kind).map(name).collect()
}

/// One deployment for each function, whose worker runs that function and gets what the program reads.
fn workers(objects: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    let wanted: BTreeSet<String> = functions_of_the_repository().into_iter().collect();
    if names(objects, "Deployment") != wanted {
        faults.push(format!("deployments must be {wanted:?}"));
    }
    for deployment in of_kind(objects, "Deployment") {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let function = name(deployment);
        if container["args"] != json!(["worker", function, "--site", "$(STILLPOINT_SITE)"]) {
            faults.push(format!("{function} runs {}", container["args"]));
        }
        let from = json!([{"configMapRef": {"name": "stillpoint"}}, {"secretRef": {"name": "stillpoint"}}]);
        let matches = deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"];
        if container["envFrom"] != from || !matches {
            faults.push(format!("{function} lacks its settings or its labels"));
        }
    }
    faults
}

/// Not root, nothing to write but its volumes, no way up, no cluster account, bounded memory, time to drain.
fn closed(objects: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    for deployment in of_kind(objects, "Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        let containers = pod["containers"].as_array().map_or(&[][..], Vec::as_slice);
        let checks = [
            (pod["securityContext"]["runAsNonRoot"] == true && pod["securityContext"]["runAsUser"] == 65532, "a user"),
            (pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", "a seccomp profile"),
            (pod["automountServiceAccountToken"] == false && pod["serviceAccountName"] == "stillpoint", "no cluster account"),
            (pod["terminationGracePeriodSeconds"].as_u64().is_some_and(|seconds| seconds >= 300), "time to drain"),
            (!containers.is_empty() && containers.iter().all(is_contained), "a closed container with bounded memory"),
        ];
        faults.extend(checks.iter().filter(|(fine, _)| !fine).map(|(_, what)| format!("{} lacks {what}", name(deployment))));
    }
    let enforced =
        of_kind(objects, "Namespace").all(|one| one["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted");
    faults.extend((!enforced).then(|| "the namespace does not enforce pod security".to_owned()));
    faults
}

fn is_contained(container: &Value) -> bool {
    let context = &container["securityContext"];
    context["readOnlyRootFilesystem"] == true
        && context["allowPrivilegeEscalation"] == false
        && context["capabilities"] == json!({"drop": ["ALL"]})
        && container["resources"]["requests"]["memory"].is_string()
        && container["resources"]["limits"]["memory"].is_string()
}

/// What runs from a queue is scaled by exactly its queues; the timer runs once.
fn scaling(objects: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    for deployment in of_kind(objects, "Deployment") {
        let function = name(deployment);
        let wanted = triggers::queues_of(&function, SITE);
        let scaled = of_kind(objects, "ScaledObject").find(|one| one["spec"]["scaleTargetRef"]["name"] == function.as_str());
        let triggers = scaled.and_then(|one| one["spec"]["triggers"].as_array()).map_or(&[][..], Vec::as_slice);
        let watched: BTreeSet<String> = triggers.iter().flat_map(|one| strings(&one["metadata"]["queueName"])).collect();
        if watched != wanted {
            faults.push(format!("{function} is scaled by {watched:?}, and should be by {wanted:?}"));
        }
        let replicas = deployment["spec"].get("replicas");
        if wanted.is_empty() != replicas.is_some() {
            faults.push(format!("{function}: either KEDA says how many there are, or the deployment does"));
        }
        if triggers.iter().any(|one| one["authenticationRef"]["name"] != "broker") {
            faults.push(format!("{function}: its scaler cannot log in"));
        }
    }
    faults
}

/// Nothing comes in; nothing goes out without encryption but names and the identity service; nodes are emptied one worker at a time.
fn network_and_disruption(objects: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    let policies: Vec<&Value> = of_kind(objects, "NetworkPolicy").map(|policy| &policy["spec"]).collect();
    let shut = |spec: &&&Value| spec["podSelector"] == json!({}) && spec["policyTypes"] == json!(["Ingress", "Egress"]);
    if policies.iter().filter(shut).count() != 1
        || policies.iter().any(|spec| spec["ingress"].as_array().is_none_or(|rules| !rules.is_empty()))
    {
        faults.push("something may come in, or some pod has no policy".to_owned());
    }
    let rules = policies.iter().flat_map(|spec| spec["egress"].as_array().into_iter().flatten());
    for rule in rules.filter(|rule| rule.get("to").is_none()) {
        let ports: Vec<u64> = rule["ports"].as_array().into_iter().flatten().filter_map(|port| port["port"].as_u64()).collect();
        if ports.is_empty() || ports.iter().any(|port| ![443, 5671].contains(port)) {
            faults.push(format!("everywhere may be reached at {ports:?}"));
        }
    }
    for function in ["transfer", "restore"] {
        let budget = of_kind(objects, "PodDisruptionBudget").find(|budget| name(budget) == function);
        let labels = json!({"app.kubernetes.io/name": "stillpoint", "app.kubernetes.io/component": function});
        if budget
            .is_none_or(|budget| budget["spec"]["maxUnavailable"] != 1 || budget["spec"]["selector"]["matchLabels"] != labels)
        {
            faults.push(format!("{function} has no disruption budget"));
        }
    }
    faults
}

/// Every file but the example of secrets is applied, what is referred to exists, and the settings name every variable.
fn complete(objects: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    let files: BTreeSet<String> = objects.iter().flat_map(|object| strings(&object["file"])).collect();
    let apart = ["kustomization.yaml", "secret.example.yaml"];
    let wanted: BTreeSet<String> = files.into_iter().filter(|file| !apart.contains(&file.as_str())).collect();
    let listed: BTreeSet<String> = of_kind(objects, "Kustomization").flat_map(|one| strings(&one["resources"])).collect();
    if listed != wanted {
        faults.push(format!("kustomization.yaml applies {listed:?}, and should apply {wanted:?}"));
    }
    let settings = of_kind(objects, "ConfigMap").next().map_or(&Value::Null, |map| &map["data"]);
    let missing =
        ["STILLPOINT_VAULT", "STILLPOINT_KEY_FILE", "STILLPOINT_LOG"].into_iter().filter(|key| !settings[key].is_string());
    faults.extend(missing.map(|key| format!("settings.yaml lacks {key}")));
    if settings["STILLPOINT_SITE"] != SITE || settings["STILLPOINT_KEY_FILE"] != "/run/stillpoint/vault.key" {
        faults.push("settings.yaml has another site or key file than the workers".to_owned());
    }
    let secret =
        |wanted: &str, key: &str| of_kind(objects, "Secret").any(|one| name(one) == wanted && one["stringData"][key].is_string());
    if !secret("stillpoint", "STILLPOINT_BROKER") || !secret("stillpoint-vault-key", "vault.key") {
        faults.push("secret.example.yaml lacks the broker or the key".to_owned());
    }
    for deployment in of_kind(objects, "Deployment") {
        let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array().map_or(&[][..], Vec::as_slice);
        let claims = volumes.iter().filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
        let lost = claims.filter(|claim| !names(objects, "PersistentVolumeClaim").contains(*claim));
        faults.extend(lost.map(|claim| format!("{} mounts {claim}, which is not there", name(deployment))));
    }
    faults
}

const RULES: [Rule; 5] = [workers, closed, scaling, network_and_disruption, complete];

#[test]
fn manifests_are_valid() {
    assert_eq!(strings(&manifests()["faults"]), Vec::<String>::new());
}

#[test]
fn manifests_follow_the_rules() {
    let objects = objects();
    let faults: Vec<String> = RULES.iter().flat_map(|rule| rule(&objects)).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn spoiled_manifests_are_found() {
    let pod = "/spec/template/spec";
    let cases: [(Rule, &str, &str, String, Value, &str); 13] = [
        (workers, "Deployment", "commit", "/metadata/name".into(), json!("comit"), "deployments must be"),
        (workers, "Deployment", "commit", format!("{pod}/containers/0/args/1"), json!("restore"), "commit runs"),
        (closed, "Deployment", "commit", format!("{pod}/securityContext/runAsNonRoot"), json!(false), "a user"),
        (
            closed,
            "Deployment",
            "commit",
            format!("{pod}/containers/0/securityContext/readOnlyRootFilesystem"),
            json!(false),
            "closed",
        ),
        (closed, "Deployment", "commit", format!("{pod}/containers/0/resources/limits"), json!({}), "bounded memory"),
        (closed, "Deployment", "commit", format!("{pod}/terminationGracePeriodSeconds"), json!(30), "time to drain"),
        (
            scaling,
            "ScaledObject",
            "transfer",
            "/spec/triggers/3/metadata/queueName".into(),
            json!("stillpoint.cluster.transfer"),
            "scaled by",
        ),
        (scaling, "ScaledObject", "transfer", "/spec/scaleTargetRef/name".into(), json!("commit"), "scaled by"),
        (network_and_disruption, "NetworkPolicy", "stillpoint", "/spec/ingress".into(), json!([{}]), "come in"),
        (network_and_disruption, "NetworkPolicy", "stillpoint", "/spec/egress/1/ports/0/port".into(), json!(5672), "5672"),
        (network_and_disruption, "PodDisruptionBudget", "restore", "/spec/maxUnavailable".into(), json!("100%"), "budget"),
        (complete, "ConfigMap", "stillpoint", "/data/STILLPOINT_SITE".into(), json!("aws"), "another site"),
        (complete, "PersistentVolumeClaim", "machines", "/metadata/name".into(), json!("disks"), "not there"),
    ];
    for (rule, kind, wanted, place, value, what) in cases {
        let mut objects = objects();
        let object = objects.iter_mut().find(|object| object["kind"] == kind && name(object) == wanted).expect("it exists");
        *object.pointer_mut(&place).unwrap_or_else(|| panic!("{place} does not exist")) = value;
        let faults = rule(&objects);
        assert!(faults.iter().any(|fault| fault.contains(what)), "{place}: '{what}' is not found: {faults:?}");
    }
}

#[test]
fn misspelt_manifests_are_found() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (file, right, wrong) in
        [("workers.yaml", "readOnlyRootFilesystem", "readonlyRootFilesystem"), ("scaling.yaml", "queueName", "queue")]
    {
        let text = tools::text(&format!("infra/kubernetes/{file}")).replace(right, wrong);
        std::fs::write(folder.path().join(file), text).expect("the folder takes a file");
    }
    let found = tools::python("manifests.py", &[folder.path().to_str().expect("its name is text")])["faults"].to_string();
    assert!(found.contains("readonlyRootFilesystem") && found.contains("queueName"), "{found}");
}
