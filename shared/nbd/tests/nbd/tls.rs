//! TLS with certificates that openssl makes, against GnuTLS in QEMU and libnbd.

use std::{fs, path::Path, process::Command};

use stillpoint_model::ErrorKind;
use stillpoint_nbd::{Client, Identity, Options, ServeOptions, Tls, server_settings};

use crate::{
    conformance::{Abilities, check_with},
    disk::{Memory, Serving},
    servers::{Lab, image_bytes, run, storage_daemon},
};

/// An authority, a server's certificate and a client's, under the names that QEMU and libnbd look for.
fn certificates(lab: &Lab, folder: &str) -> String {
    let folder = lab.path(folder);
    fs::create_dir(&folder).expect("a folder can be made");
    let at = |name: &str| folder.join(name).to_str().expect("text").to_owned();
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch"];
    let authority =
        ["req", "-x509", "-days", "30", "-subj", "/CN=authority", "-keyout", &at("ca.key"), "-out", &at("ca-cert.pem")];
    run("openssl", &[&authority[..], &key].concat());
    for (name, extensions) in [
        ("server", "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n"),
        ("client", "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\nsubjectAltName=DNS:client\n"),
    ] {
        let (file, request) = (at(&format!("{name}.ext")), at(&format!("{name}.csr")));
        fs::write(&file, extensions).expect("it can be written");
        let subject = format!("/CN={name}");
        let asked = ["req", "-subj", &subject, "-keyout", &at(&format!("{name}-key.pem")), "-out", &request];
        run("openssl", &[&asked[..], &key].concat());
        let signed =
            ["x509", "-req", "-days", "30", "-CAcreateserial", "-in", &request, "-out", &at(&format!("{name}-cert.pem"))];
        run("openssl", &[&signed[..], &["-CA", &at("ca-cert.pem"), "-CAkey", &at("ca.key"), "-extfile", &file]].concat());
    }
    at("")
}

fn identity(folder: &str, name: &str) -> Identity {
    let at = |file: String| Path::new(folder).join(file);
    Identity { certificate: at(format!("{name}-cert.pem")), key: at(format!("{name}-key.pem")) }
}

fn tls(folder: &str) -> Tls {
    Tls { authority: Path::new(folder).join("ca-cert.pem"), identity: Some(identity(folder, "client")), server_name: None }
}

fn options(tls: Option<Tls>) -> Options {
    Options { tls, connections: 3, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_daemon_is_understood_over_tls() {
    let lab = Lab::new();
    let (ours, others) = (certificates(&lab, "ours"), certificates(&lab, "others"));
    let bytes = lab.image("disk", 64);
    let object = format!("tls-creds-x509,id=tls,endpoint=server,verify-peer=on,dir={ours}");
    let node = format!("driver=raw,node-name=disk,file.driver=file,file.filename={},file.discard=unmap", lab.arg("disk"));
    let socket = format!("addr.type=unix,addr.path={},tls-creds=tls", lab.arg("s"));
    let export = ["--blockdev", &node, "--nbd-server", &socket, "--export", "type=nbd,id=e,node-name=disk,name=os,writable=on"];
    let words = [&["qemu-storage-daemon", "--object", &object][..], &export].concat();
    let _server = crate::servers::Daemon::start(&words, &lab.path("s"));
    let address = lab.socket("s");
    check_with(&address, "os", bytes, Abilities { several_connections: true, holes: true }, &options(Some(tls(&ours)))).await;

    let refused = |tls: Option<Tls>| {
        let (address, options) = (address.clone(), options(tls));
        async move {
            match Client::connect(&address, "os", &[], &options).await {
                // With TLS 1.3 a server refuses a client after the client is content.
                Ok(client) => client.read(0, vec![0; 1]).await.expect_err("it is refused"),
                Err(error) => error,
            }
        }
    };
    assert_eq!(refused(None).await.kind(), ErrorKind::Denied, "no TLS");
    assert_eq!(refused(Some(tls(&others))).await.kind(), ErrorKind::Denied, "another authority");
    let other_name = Tls { server_name: Some("elsewhere".into()), ..tls(&ours) };
    assert_eq!(refused(Some(other_name)).await.kind(), ErrorKind::Denied, "another name");
    let stranger = Tls { identity: Some(identity(&others, "client")), ..tls(&ours) };
    let error = refused(Some(stranger)).await;
    assert!(matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unavailable), "a stranger: {error}");
    let nowhere = Tls { authority: "/nowhere.pem".into(), ..tls(&ours) };
    assert_eq!(refused(Some(nowhere)).await.kind(), ErrorKind::Missing, "no file");
    let no_certificate = Tls { authority: Path::new(&ours).join("ca.key"), ..tls(&ours) };
    assert_eq!(refused(Some(no_certificate)).await.kind(), ErrorKind::Invalid, "no certificate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_not_talked_to_in_plain() {
    let lab = Lab::new();
    let ours = certificates(&lab, "ours");
    lab.image("disk", 1);
    let node = format!("driver=raw,node-name=disk,file.driver=file,file.filename={}", lab.arg("disk"));
    let _server = storage_daemon(&lab, "s", &["--blockdev", &node, "--export", "type=nbd,id=e,node-name=disk,name=os"]);
    let refused = Client::connect(&lab.socket("s"), "os", &[], &options(Some(tls(&ours)))).await.err().expect("it has no TLS");
    assert_eq!(refused.kind(), ErrorKind::Denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_server_is_understood_over_tls() {
    let lab = Lab::new();
    let (ours, others) = (certificates(&lab, "ours"), certificates(&lab, "others"));
    let settings = server_settings(&identity(&ours, "server"), Some(&Path::new(&ours).join("ca-cert.pem"))).expect("settings");
    let disk = Memory::new(image_bytes(16 << 20), false);
    let serve = ServeOptions { tls: Some(settings), ..ServeOptions::default() };
    let address = "tcp:127.0.0.1:0".parse().expect("an address");
    let server = Serving::start(&address, &[("os", disk.clone())], serve).await;
    let everything = Abilities { several_connections: true, holes: true };
    let written = check_with(&server.address, "os", disk.bytes(), everything, &options(Some(tls(&ours)))).await;
    assert!(disk.bytes() == written);
    let plain = Client::connect(&server.address, "os", &[], &options(None)).await.err().expect("TLS only");
    assert_eq!(plain.kind(), ErrorKind::Denied);

    let port = server.address.to_string().rsplit(':').next().expect("a port").to_owned();
    fs::write(lab.path("disk"), &written).expect("it can be written");
    let disk = lab.arg("disk");
    let done = tokio::task::spawn_blocking(move || {
        let url = format!("nbds://127.0.0.1:{port}/os?tls-certificates={ours}");
        assert_eq!(run("nbdinfo", &["--size", &url]).trim(), (16 << 20).to_string());
        let image = format!("driver=nbd,server.type=inet,server.host=127.0.0.1,server.port={port},export=os,tls-creds=tls");
        let compare = |folder: &str| {
            let object = format!("tls-creds-x509,id=tls,endpoint=client,dir={folder}");
            let local = format!("driver=raw,file.driver=file,file.filename={disk}");
            let args = ["compare", "--object", &object, "--image-opts", &local, &image];
            Command::new("qemu-img").args(args).output().expect("it runs").status.success()
        };
        assert!(compare(&ours) && !compare(&others));
    });
    done.await.expect("others are content");
    server.stop().await;
}
