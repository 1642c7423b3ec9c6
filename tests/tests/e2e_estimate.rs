//! `restore --estimate`: what it says, and that nothing of it stays.

use std::{fs, path::Path};

use stillpoint_tests::{
    Host, Lab, Mounted,
    disk::{self, MIB},
    number, text,
    vault_files::objects,
};

fn backed_up(lab: &Lab) -> Host {
    let host = lab.host_with_vault();
    let image = lab.path("os.raw");
    disk::sparse(&image, 512 * MIB, 1, &[(0, 40 * MIB), (300 * MIB, 24 * MIB)]);
    host.add("web-01", &[("os", &image)]);
    host.backup("web-01");
    host
}

#[test]
fn an_estimate_measures_both_sides_and_leaves_nothing() {
    let lab = Lab::new();
    let host = backed_up(&lab);
    let target = lab.path("target");
    fs::create_dir(&target).unwrap();
    let before = objects(host.vault());
    let estimate = host.json(&["restore", "web-01", "--estimate", "--to", &lab.arg("target/new")]);
    assert_eq!(number(&estimate, "/data_bytes"), 64 * MIB, "{estimate}");
    let stored = number(&estimate, "/stored_bytes");
    assert!((60 * MIB..70 * MIB).contains(&stored), "noise does not shrink: {estimate}");
    assert!(number(&estimate, "/vault_bytes_per_second") > 0 && number(&estimate, "/target_bytes_per_second") > 0);
    assert!(["vault", "target"].contains(&text(&estimate, "/limit")));
    assert!(number(&estimate, "/free_bytes") > 64 * MIB);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "nothing is left behind");
    assert_eq!(objects(host.vault()), before, "no job was made");
    let said = host.run(&["restore", "web-01", "--estimate", "--to", &lab.arg("target/new")]).ok();
    assert!(String::from_utf8_lossy(&said.stdout).contains("is the slower side"), "{said}");
}

#[test]
fn a_target_without_the_room_is_named_beforehand() {
    let lab = Lab::new();
    let host = backed_up(&lab);
    let small = lab.path("small");
    fs::create_dir(&small).unwrap();
    let mounted = Mounted::tmpfs(&small, "20m");
    let host = host.within(&mounted);
    let estimate = host.json(&["restore", "web-01", "--estimate", "--to", &lab.arg("small")]);
    let warning = text(&estimate, "/warnings/0");
    assert!(warning.contains("20.00 MiB free") && warning.contains("choose another place"), "{estimate}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let lab = Lab::new();
    let host = backed_up(&lab);
    let device = host.fails(&["restore", "web-01", "--estimate", "--disk", "os=nbd://127.0.0.1:1/os"]);
    assert!(device.contains("only folders and stores"), "{device}");
    let unknown = host.fails(&["restore", "web-01", "--estimate", "--point", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--to", "/tmp"]);
    assert!(unknown.contains("01ARZ3NDEKTSV4RRFFQ69G5FAV"), "{unknown}");
    assert!(Path::new("/tmp").is_dir());
}
