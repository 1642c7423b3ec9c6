//! Single files come out of recovery points, without a restore: whatever table and file systems a disk has, with few requests, and
//! with a clear word where that cannot be.

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

use serde_json::Value;
use stillpoint_tests::{
    Host, Lab,
    disk::{self, MIB},
    number, partitioned, text, tool,
};

fn sized(path: &Path, size: u64) {
    fs::File::create(path).and_then(|file| file.set_len(size)).expect("an image can be made");
}

/// A machine with a boot partition (FAT), a root file system (ext4 with real files), one for data (ext4), and swap.
fn machine(lab: &Lab, host: &Host, table: &str) {
    let [boot, root, data, swap] = ["boot.img", "root.img", "data.img", "swap.img"].map(|name| lab.path(name));
    sized(&boot, 8 * MIB);
    tool("mkfs.vfat", &[&lab.arg("boot.img")]);
    fs::write(lab.path("loader.conf"), "timeout 3\n").expect("a file can be written");
    tool("mcopy", &["-i", &lab.arg("boot.img"), &lab.arg("loader.conf"), "::/"]);
    disk::ext4(&root);
    let tree = lab.path("tree");
    fs::create_dir_all(tree.join("db")).expect("a folder can be made");
    fs::write(tree.join("db/table"), disk::noise(3, 3 * MIB)).expect("a file can be written");
    fs::write(tree.join("db").join(std::ffi::OsStr::from_bytes(b"n\xfft\n\x1b[2J")), "odd").expect("a file can be written");
    sized(&data, 16 * MIB);
    tool("mke2fs", &["-q", "-F", "-t", "ext4", "-d", &lab.arg("tree"), &lab.arg("data.img")]);
    sized(&swap, 4 * MIB);
    tool("mkswap", &["-q", &lab.arg("swap.img")]);
    partitioned(&lab.path("os.raw"), table, &[&boot, &root, &swap]);
    host.add("web-01", &[("os", &lab.path("os.raw")), ("data", &data)]);
    host.backup("web-01");
}

fn requests(document: &Value) -> u64 {
    document["command_requests"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

#[test]
fn a_file_is_found_wherever_it_is_and_comes_out_with_few_requests() {
    for table in ["dos", "gpt"] {
        let lab = Lab::new();
        let host = lab.host_with_vault();
        machine(&lab, &host, table);

        let volumes = host.json(&["files", "web-01"]);
        let held: Vec<(&str, Option<u64>, &str)> = volumes["volumes"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|volume| (text(volume, "/disk"), volume["partition"].as_u64(), text(volume, "/holds")))
            .collect();
        assert_eq!(held, [("os", Some(1), "FAT"), ("os", Some(2), "ext4"), ("os", Some(3), "swap"), ("data", None, "ext4")]);
        assert_eq!(text(&volumes, "/volumes/0/table"), if table == "dos" { "mbr" } else { "gpt" });

        let listed = host.json(&["files", "web-01", "ls", "/lab"]);
        assert_eq!((text(&listed, "/disk"), number(&listed, "/partition"), text(&listed, "/file_system")), ("os", 2, "ext4"));
        let entries = listed["entries"].as_array().expect("entries");
        let log = entries.iter().find(|entry| entry["name"] == "app.log").expect("the file is listed");
        assert_eq!((text(log, "/type"), number(log, "/size_bytes")), ("file", 20_000 * 15));
        assert!(requests(&listed) < 40, "{listed}");

        let to = lab.arg("app.log");
        let got = host.json(&["files", "web-01", "--disk", "os", "--partition", "2", "get", "/lab/app.log", "--to", &to]);
        assert_eq!(number(&got, "/bytes"), 20_000 * 15);
        assert_eq!(fs::read_to_string(&to).expect("it is there"), "the first line\n".repeat(20_000));
        assert!(requests(&got) < 30, "one small file of a disk of 140 MiB: {got}");

        fs::create_dir(lab.path("into")).expect("a folder can be made");
        let got = host.json(&["files", "web-01", "get", "loader.conf", "--to", &lab.arg("into")]);
        assert_eq!((text(&got, "/file_system"), text(&got, "/to")), ("FAT", lab.arg("into/loader.conf").as_str()));
        host.json(&["files", "web-01", "get", "-r", "/db", "--to", &lab.arg("db")]);
        tool("diff", &["-r", &lab.arg("tree/db"), &lab.arg("db")]);
        let shown = host.run(&["files", "web-01", "ls", "/db"]).ok();
        let shown = String::from_utf8_lossy(&shown.stdout);
        assert!(shown.contains("n\\xfft\\u{a}\\u{1b}[2J") && shown.contains("disk data (ext4)"), "{shown}");
    }
}

#[test]
fn what_cannot_be_got_is_said_in_one_line() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    machine(&lab, &host, "gpt");
    let to = lab.arg("kept");
    fs::write(&to, "mine").expect("a file can be written");
    for (args, said) in [
        (&["ls", "/"][..], "choose with --disk and --partition"),
        (&["ls", "/no/such"], "does not exist on disk os, partition 1 (FAT); disk os, partition 2 (ext4)"),
        (&["--partition", "3", "ls", "/"], "serve-point web-01 --nbd"),
        (&["--partition", "9", "ls", "/"], "no disk that was looked at has a partition 9"),
        (&["--disk", "tape", "ls", "/"], "has no disk tape"),
        (&["--point", "2001-01-01T00:00:00Z", "ls", "/"], "no good recovery point"),
        (&["get", "/lab", "--to", &to], "-r takes all of it"),
        (&["get", "/lab/app.log", "--to", &to], "--overwrite replaces it"),
        (&["get", "/lab/../etc", "--to", &to], "without '..'"),
        (&["get", "-r", "/"], "give the root a name"),
        (&["get", "/lab/app.log", "--to", "/no/such/folder/file"], "cannot write"),
    ] {
        let line = host.run(&[&["files", "web-01"], args].concat()).error();
        assert!(line.contains(said), "{args:?}: {line}");
    }
    assert_eq!(fs::read_to_string(&to).expect("it is there"), "mine");
    host.json(&["files", "web-01", "get", "/lab/app.log", "--to", &to, "--overwrite"]);
    assert_eq!(fs::metadata(&to).expect("it is there").len(), 20_000 * 15);
}
