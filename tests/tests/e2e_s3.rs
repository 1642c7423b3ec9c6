//! The main job through the binary, on object stores that speak HTTP.

use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
    number,
    servers::{S3Server, azurite, closed_port, s3rver, seaweedfs},
    text,
    vault_files::objects,
};

/// A host that looks at the vault under `url`, with just these variables.
fn host(lab: &Lab, url: &str, variables: &[(&str, &str)]) -> Host {
    let host = lab.host("first").set("STILLPOINT_VAULT", url);
    variables.iter().fold(host, |host, (name, value)| host.set(name, value))
}

/// Two backups of a changing disk come back byte for byte, and the vault is whole.
fn both_points_come_back(lab: &Lab, host: &Host, shown: &str) {
    let (now, before) = (lab.path("now.raw"), lab.path("before.raw"));
    disk::sparse(&now, 96 * MIB, 1, &[(0, 4096), (MIB + 512, 30 * MIB), (80 * MIB, 16 * MIB)]);
    host.json(&["vault", "create"]);
    host.add("web-01", &[("os", &now)]);
    let first = host.backup("web-01");
    disk::copy(&now, &before);
    disk::overwrite(&now, 40 * MIB + 512, &disk::noise(2, 3_000_000));
    let second = host.backup("web-01");

    host.restores("web-01", text(&first, "/point"), &lab.path("one"), &[("os", &before)]);
    host.restores("web-01", text(&second, "/point"), &lab.path("two"), &[("os", &now)]);
    host.run(&["vault", "check"]).ok();
    let info = host.json(&["vault", "info"]);
    assert_eq!(text(&info, "/url"), shown, "without its parameters");
    let again = host.fails(&["vault", "create"]);
    assert!(again.contains(&format!("{shown} already holds a vault")), "{again}");
}

#[test]
fn on_s3_under_a_lock_both_points_come_back() {
    let (lab, server) = (Lab::new(), seaweedfs());
    server.make_bucket("story", &[("x-amz-bucket-object-lock-enabled", "true")]);
    let url = format!("{}&lock_mode=governance&lock_days=1&streams=4", server.url("story/backup"));
    both_points_come_back(&lab, &host(&lab, &url, &server.variables()), "s3://story/backup");
    let versions = server.ask("GET", "/story?versions&prefix=backup/points/", &[]).body;
    assert!(!versions.contains("<DeleteMarker>") && versions.contains("point.json"), "points are only ever created: {versions}");
}

#[test]
fn the_demo_runs_in_a_bucket() {
    let (lab, server) = (Lab::new(), seaweedfs());
    server.make_bucket("demo", &[]);
    let image = lab.path("image.raw");
    disk::ext4(&image);
    let host = host(&lab, "s3://nowhere/at-all", &server.variables());
    let url = server.url("demo/story");
    let done = host.run(&["demo", "--vault", &url, &lab.arg("image.raw")]).ok();
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(told.contains("both points restored byte for byte") && told.contains("stays at s3://demo/story"), "{told}");
    assert!(server.ask("GET", "/demo?list-type=2&prefix=story/points/", &[]).body.contains("point.json"));
    let again = host.run(&["--json", "demo", "--vault", &url, &lab.arg("image.raw")]).error();
    assert!(again.contains("name an empty place") && again.contains("already holds a vault"), "{again}");
}

#[test]
fn on_azure_both_points_come_back() {
    let (lab, server) = (Lab::new(), azurite());
    server.make_container("story");
    both_points_come_back(&lab, &host(&lab, &server.url("story/backup"), &server.variables()), "az://story/backup");
}

/// `vault create` fails with one line that has these words, and leaves nothing on the host.
fn is_refused(lab: &Lab, url: &str, variables: &[(&str, &str)], words: &str) {
    let host = host(lab, url, variables);
    let line = host.fails(&["vault", "create", "--recovery-key-file", &lab.arg("recovery-key")]);
    assert!(line.contains(words), "{line}");
    for (_, value) in variables {
        assert!(!line.contains(value), "a credential in {line}");
    }
    assert!(objects(host.home()).is_empty(), "left behind: {:?}", objects(host.home()));
    assert!(!lab.path("recovery-key").exists());
}

#[test]
fn a_vault_that_cannot_be_made_leaves_no_key_behind() {
    let lab = Lab::new();
    let overwriting = s3rver();
    is_refused(&lab, &overwriting.url("vault/p"), &overwriting.variables(), "it lacks create-if-absent");
    let server = seaweedfs();
    server.make_bucket("refusing", &[]);
    is_refused(&lab, &server.url("nowhere/p"), &server.variables(), "there is no such bucket");
    let wrong = [("AWS_ACCESS_KEY_ID", "TESTKEY"), ("AWS_SECRET_ACCESS_KEY", "WRONGSECRET")];
    is_refused(&lab, &server.url("refusing/p"), &wrong, "does not accept these credentials");
    let reader = [("AWS_ACCESS_KEY_ID", "READKEY"), ("AWS_SECRET_ACCESS_KEY", "READSECRET")];
    is_refused(&lab, &server.url("refusing/p"), &reader, "these credentials may not do that");
    is_refused(
        &lab,
        &format!("{}&secret=x", server.url("refusing/p")),
        &server.variables(),
        "'secret' of the vault URL is not known",
    );
    let nobody = format!("s3://b/p?endpoint=http://127.0.0.1:{}&allow_http=true", closed_port());
    is_refused(&lab, &nobody, &server.variables(), "cannot");
}

/// Copies a machine's point from one place to another, where it comes back; returns bytes moved, packs, and requests that read and wrote.
fn replicated(server: &S3Server, primary: &str, replica: &str) -> [u64; 4] {
    let lab = Lab::new();
    let host = host(&lab, &server.url(primary), &server.variables());
    host.json(&["vault", "create"]);
    let disk = lab.path("disk.raw");
    disk::full(&disk, 96 * MIB, 3);
    host.add("web-01", &[("os", &disk)]);
    let point = host.backup("web-01");
    host.json(&["vault", "pair", "--with", &server.url(replica)]);
    let report = host.json(&["replicate"]);
    let there = host.set("STILLPOINT_VAULT", &server.url(replica));
    there.restores("web-01", text(&point, "/point"), &lab.path("restored"), &[("os", &disk)]);
    ["/moved_bytes", "/packs", "/requests/get", "/requests/put"].map(|pointer| number(&report, pointer))
}

#[test]
fn within_a_bucket_the_store_copies_packs_and_nobody_reads_them() {
    let server = seaweedfs();
    for bucket in ["one", "two"] {
        server.make_bucket(bucket, &[]);
    }
    let [moved, packs, gets, puts] = replicated(&server, "one/primary", "one/replica");
    assert!(moved > 96 * MIB && packs >= 2, "{moved} bytes in {packs} packs");
    let [_, far_packs, far_gets, far_puts] = replicated(&server, "one/other", "two/replica");
    assert_eq!((packs, puts), (far_packs, far_puts + 1), "one more shows that a copy overwrites nothing");
    assert_eq!(gets + packs, far_gets, "each pack was read");
}
