//! Vaults that open through AWS KMS: with moto, whose KMS encrypts for real, and with a scripted one for what goes wrong.

#[path = "e2e_kms/moto.rs"]
mod moto;
#[path = "e2e_kms/scripted.rs"]
mod scripted;

use std::{fs, path::Path};

use moto::Moto;
use scripted::{KEY, PLAINTEXT, Scripted};
use serde_json::{Value, json};
use stillpoint_tests::{
    Done, Host, Lab,
    disk::{self, MIB},
    servers::closed_port,
    text,
};

/// The host with AWS credentials, and AWS at `url`.
fn with_aws(host: &Host, url: &str) -> Host {
    host.set("AWS_ENDPOINT_URL", url)
        .set("AWS_ALLOW_HTTP", "true")
        .set("AWS_ACCESS_KEY_ID", "test")
        .set("AWS_SECRET_ACCESS_KEY", "test")
        .set("AWS_REGION", "eu-central-1")
}

/// A small machine and its first point; returns the disk.
fn one_backup(lab: &Lab, host: &Host) -> std::path::PathBuf {
    let disk = lab.path("disk.raw");
    disk::sparse(&disk, 8 * MIB, 3, &[(0, 2 * MIB), (5 * MIB, MIB)]);
    host.add("web-01", &[("os", &disk)]);
    host.backup("web-01");
    disk
}

fn refused(done: &Done, words: &[&str]) {
    let line = done.error();
    assert_eq!(done.code, Some(1), "{done}");
    for word in words {
        assert!(line.contains(word), "'{word}' is missing in: {line}");
    }
}

/// The slots of a kind, as `vault info` lists them.
fn slots(info: &Value, kind: &str) -> Vec<Value> {
    let all = info["key_slots"].as_array().unwrap_or_else(|| panic!("no slots in {info}"));
    all.iter().filter(|slot| text(slot, "/kind") == kind).cloned().collect()
}

/// Path and record of the vault's KMS slot.
fn kms_slot(vault: &Path) -> (std::path::PathBuf, Value) {
    let keys = vault.join("keys");
    let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).expect("a slot can be read")).expect("JSON");
    let mut paths = disk::names(&keys).into_iter().map(|name| keys.join(name));
    let path = paths.find(|path| text(&read(path), "/body/kind") == "kms").expect("the vault has a KMS slot");
    let record = read(&path);
    (path, record)
}

#[test]
fn a_vault_opens_through_kms_alone() {
    let lab = Lab::new();
    let moto = Moto::start();
    let key = moto.key();
    let host = with_aws(&lab.host("first"), &moto.url());
    let created = host.json(&["vault", "create", "--kms", &key]);
    let disk = one_backup(&lab, &host);
    let info = host.json(&["vault", "info"]);
    assert_eq!(text(&info, "/key_file"), text(&created, "/key_file"), "a key file that is there is used");
    assert_eq!(slots(&info, "kms"), [json!({"seq": 3, "kind": "kms", "key": key})]);
    fs::remove_file(text(&created, "/key_file")).expect("the key file can go");

    let info = host.json(&["vault", "info"]);
    assert_eq!(info.get("key_file"), None, "{info}");
    let second = with_aws(&lab.host("second"), &moto.url());
    assert_eq!(second.points("web-01").len(), 1);
    assert_eq!(second.json(&["vault", "open"]), json!({"vault": created["vault"]}), "nothing is needed here");
    second.restores("web-01", "latest", &lab.path("restored"), &[("os", &disk)]);
    second.backup("web-01");
    assert!(disk::names(second.home()).iter().all(|name| name != ".config"), "no key file came to be");
}

#[test]
fn a_vault_without_a_key_file_opens_with_the_recovery_key_alone() {
    let lab = Lab::new();
    let moto = Moto::start();
    let host = with_aws(&lab.host("first"), &moto.url()).set("STILLPOINT_KMS_KEY", &moto.key());
    let created = host.json(&["vault", "create", "--no-key-file"]);
    assert_eq!(created.get("key_file"), None, "{created}");
    let disk = one_backup(&lab, &host);
    let info = host.json(&["vault", "info"]);
    assert!(slots(&info, "key-file").is_empty() && slots(&info, "recovery-key").len() == 1, "{info}");

    let without_aws = lab.host("without-aws");
    without_aws.json(&["vault", "open", "--recovery-key", text(&created, "/recovery_key")]);
    without_aws.restores("web-01", "latest", &lab.path("restored"), &[("os", &disk)]);
    refused(&lab.host("third").run(&["vault", "create", "--no-key-file"]), &["--kms"]);
}

#[test]
fn an_alias_names_a_key_and_another_key_is_refused() {
    let lab = Lab::new();
    let moto = Moto::start();
    let (key, other) = (moto.key(), moto.key());
    let alias = moto.alias(&key);
    let host = with_aws(&lab.host("first"), &moto.url());
    host.json(&["vault", "create", "--no-key-file", "--kms", &alias]);
    assert_eq!(slots(&host.json(&["vault", "info"]), "kms")[0]["key"], json!(key), "the slot names the key, not its alias");
    host.json(&["--kms", &alias, "vault", "info"]);
    host.json(&["--kms", &key, "vault", "info"]);
    refused(&host.run(&["--kms", &other, "vault", "info"]), &["key slot 2", "KMS key"]);
}

#[test]
fn an_older_vault_gets_a_kms_slot() {
    let lab = Lab::new();
    let moto = Moto::start();
    let (key, second_key) = (moto.key(), moto.key());
    let host = with_aws(&lab.host_with_vault(), &moto.url());
    let added = host.json(&["vault", "add-kms", &key]);
    assert_eq!(text(&added, "/kms_key"), key);
    let second = with_aws(&lab.host("second"), &moto.url());
    second.json(&["vault", "add-kms", &second_key]);
    let named: Vec<Value> = slots(&second.json(&["vault", "info"]), "kms").iter().map(|slot| slot["key"].clone()).collect();
    assert_eq!(named, [json!(key), json!(second_key)]);
    second.json(&["--kms", &second_key, "vault", "info"]);
}

#[test]
fn a_slot_of_another_vault_and_an_altered_slot_are_refused() {
    let lab = Lab::new();
    let moto = Moto::start();
    let key = moto.key();
    let host = with_aws(&lab.host("first"), &moto.url());
    host.json(&["vault", "create", "--no-key-file", "--kms", &key]);
    let (path, record) = kms_slot(host.vault());
    let original = fs::read(&path).expect("a slot can be read");

    let other = host.at_vault(&lab.path("other"));
    other.json(&["vault", "create", "--no-key-file", "--kms", &key]);
    fs::copy(&path, kms_slot(other.vault()).0).expect("a slot can be moved");
    refused(&other.run(&["vault", "info"]), &["AWS KMS does not open the vault", "another vault", "InvalidCiphertextException"]);

    let altered = |member: &str| {
        let mut altered = record.clone();
        let value = altered.pointer_mut(member).expect("the slot has it");
        let mut text = value.as_str().expect("a text").to_owned().into_bytes();
        let middle = text.len() / 2;
        text[middle] = if text[middle] == b'A' { b'B' } else { b'A' };
        *value = String::from_utf8(text).expect("still text").into();
        fs::write(&path, altered.to_string()).expect("a slot can be altered");
        host.run(&["vault", "info"])
    };
    refused(&altered("/body/kms/blob"), &["InvalidCiphertextException"]);
    refused(&altered("/body/wrapped"), &["does not authenticate"]);
    refused(&altered("/body/kms/key"), &["is no KMS key"]);
    fs::write(&path, original).expect("a slot can be restored");
    host.json(&["vault", "info"]);
}

/// A vault that only the scripted service opens, beside the recovery key.
fn scripted_vault(lab: &Lab) -> (Scripted, Host, Value) {
    let service = Scripted::start();
    let host = with_aws(&lab.host("first"), &service.url());
    let created = host.json(&["vault", "create", "--no-key-file", "--kms", KEY]);
    (service, host, created)
}

#[test]
fn requests_are_signed_and_bound_to_the_vault_and_show_no_secret() {
    let lab = Lab::new();
    let (service, host, created) = scripted_vault(&lab);
    let context = json!({ "stillpoint-vault": created["vault"] });
    let made = service.requests();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].call, "TrentService.GenerateDataKey");
    assert_eq!(made[0].body, json!({"KeyId": KEY, "NumberOfBytes": 32, "EncryptionContext": context}));

    let done = host.set("STILLPOINT_LOG", "trace").run(&["--json", "vault", "info"]).ok();
    let opened = service.requests();
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0].call, "TrentService.Decrypt");
    assert_eq!(opened[0].body, json!({"KeyId": KEY, "CiphertextBlob": "YmxvYg==", "EncryptionContext": context}));
    for request in made.iter().chain(&opened) {
        let authorization = &request.authorization;
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=test/"), "{authorization}");
        assert!(authorization.contains("/eu-central-1/kms/aws4_request, "), "{authorization}");
        assert!(authorization.contains("x-amz-target"), "the call is part of what is signed: {authorization}");
    }
    let said = done.stderr + &String::from_utf8_lossy(&done.stdout);
    assert!(!said.contains(PLAINTEXT), "the data key is in the log");
}

#[test]
fn what_kms_refuses_is_told_with_what_to_do() {
    let lab = Lab::new();
    let (service, host, created) = scripted_vault(&lab);
    service.requests();
    for (code, words) in [
        ("DisabledException", ["is disabled", "enable it"]),
        ("KMSInvalidStateException", ["to be deleted", "cancel its deletion"]),
        ("AccessDeniedException", ["may not use KMS key", "kms:Decrypt"]),
        ("NotFoundException", ["there is no KMS key", "check account"]),
        ("IncorrectKeyException", ["was not made with", KEY]),
        ("ExpiredTokenException", ["does not accept these AWS credentials", "as it was told"]),
    ] {
        service.refuse(&[(400, code)]);
        refused(&host.run(&["points", "web-01"]), &[words[0], words[1], code]);
        assert_eq!(service.requests().len(), 1, "{code} is not worth a second try");
    }
    service.refuse(&[(400, "DisabledException")]);
    host.json(&["vault", "open", "--recovery-key", text(&created, "/recovery_key")]);
    assert!(service.requests().is_empty(), "the recovery key needs no service");
}

#[test]
fn a_busy_service_is_asked_again() {
    let lab = Lab::new();
    let (service, host, _) = scripted_vault(&lab);
    service.requests();
    service.refuse(&[(400, "ThrottlingException"), (500, "KMSInternalException"), (503, "")]);
    host.json(&["vault", "info"]);
    assert_eq!(service.requests().len(), 4, "three refusals and the answer");
    service.refuse(&[(400, "ThrottlingException"); 20]);
    refused(&host.run(&["vault", "info"]), &["busy", "ThrottlingException", "try again later"]);
    assert_eq!(service.requests().len(), 6, "not for ever");
}

#[test]
fn a_service_that_is_not_there_and_credentials_that_are_not() {
    let lab = Lab::new();
    let (service, host, created) = scripted_vault(&lab);
    service.requests();
    let closed = format!("http://127.0.0.1:{}", closed_port());
    let silent = host.set("AWS_ENDPOINT_URL_KMS", &closed).run(&["vault", "info"]);
    refused(&silent, &["AWS KMS does not answer at", &closed]);
    refused(&host.set("AWS_ALLOW_HTTP", "false").run(&["vault", "info"]), &["has no TLS", "AWS_ALLOW_HTTP=true"]);

    let stranger = lab.host("stranger").set("AWS_ENDPOINT_URL", &service.url()).set("AWS_ALLOW_HTTP", "true");
    let stranger = stranger.set("AWS_METADATA_ENDPOINT", &closed);
    refused(&stranger.run(&["vault", "info"]), &["no AWS credentials", "AWS_ACCESS_KEY_ID"]);
    let broken = host.set("AWS_SESSION_TOKEN", "line\nline");
    refused(&broken.run(&["vault", "info"]), &["AWS_SESSION_TOKEN"]);
    assert!(service.requests().is_empty(), "nothing is sent without credentials");

    let other = host.at_vault(&lab.path("other"));
    service.refuse(&[(400, "AccessDeniedException")]);
    refused(&other.run(&["vault", "create", "--kms", KEY]), &["kms:GenerateDataKey"]);
    assert!(!other.vault().exists(), "nothing is left of a vault that did not come to be");
    assert!(text(&created, "/recovery_key").len() > 50);
    let usage = host.run(&["vault", "create", "--kms", "1234abcd-12ab-34cd-56ef-1234567890ab"]);
    assert!(usage.code == Some(2) && usage.stderr.contains("give an ARN"), "{usage}");
}
