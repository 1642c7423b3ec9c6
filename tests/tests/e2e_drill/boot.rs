//! Drills that boot the machine: a real guest by its own command line, disks of the platform `image` in the usual machine, and what neither
//! boots nor stays behind.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use stillpoint_tests::{
    Done, Host, Lab, Running,
    disk::{self, MIB},
    live::{Agent, Disk, Format, Guest},
    number, text, tool,
};

use super::{check, only, outcomes};

/// A boot sector's program: says the text behind it on the first serial port, and halts.
const SAYS: [u8; 34] = [
    0x31, 0xc0, 0x8e, 0xd8, 0xfc, 0xbe, 0x22, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x12, 0x88, 0xc4, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20,
    0x74, 0xfb, 0x88, 0xe0, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xe9, 0xf4, 0xeb, 0xfd,
];
const SAID: &[u8] = b"stage two\r\nsmall login: \0";
/// This machine has a KVM in which no guest runs.
const EMULATED: &str = "arguments = [\"-machine\", \"accel=tcg\"]";

struct Site {
    lab: Lab,
    host: Host,
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new();
        let host = lab.host_with_vault();
        fs::create_dir_all(lab.path("into")).expect("a folder can be made");
        Self { lab, host }
    }

    /// A machine of platform `image` with a disk that boots, behind one that does not where that is asked for.
    fn with_boot_sector(name: &str) -> Self {
        let site = Self::new();
        let mut sector = [&SAYS[..], SAID].concat();
        sector.resize(510, 0);
        sector.extend([0x55, 0xaa]);
        disk::sparse(&site.lab.path("boot.raw"), 4 * MIB, 1, &[]);
        disk::overwrite(&site.lab.path("boot.raw"), 0, &sector);
        disk::sparse(&site.lab.path("data.raw"), 4 * MIB, 1, &[(MIB, MIB)]);
        site.host.add("web-01", &[("a-data", &site.lab.path("data.raw")), (name, &site.lab.path("boot.raw"))]);
        site.host.backup("web-01");
        site
    }

    fn blank() -> Self {
        let site = Self::new();
        disk::sparse(&site.lab.path("blank.raw"), 4 * MIB, 1, &[]);
        site.host.add("web-01", &[("os", &site.lab.path("blank.raw"))]);
        site.host.backup("web-01");
        site
    }

    fn plan(&self, machine: &str, more: &str) -> Vec<String> {
        fs::write(self.lab.path("plan.toml"), format!("[[drill]]\nname = \"boots\"\nmachines = [\"{machine}\"]\n{more}\n"))
            .expect("a plan can be written");
        let [plan, reports, into] = ["plan.toml", "reports", "into"].map(|name| self.lab.arg(name));
        ["--json", "drill", "run", "--plan", &plan, "--reports", &reports, "--into", &into].map(str::to_owned).to_vec()
    }

    fn spawn(&self, machine: &str, more: &str) -> Running {
        let words = self.plan(machine, more);
        self.host.spawn(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn run(&self, machine: &str, more: &str) -> Done {
        let words = self.plan(machine, more);
        self.host.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn assert_nothing_left(&self) {
        assert_eq!(machines(&self.lab.path("into")), [""; 0], "no machine runs");
        assert_eq!(disk::names(&self.lab.path("into")), [""; 0], "nothing lies there");
    }
}

/// Command lines of machines that run below a folder.
fn machines(folder: &Path) -> Vec<String> {
    let needle = format!("{}/", folder.display());
    let processes = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.starts_with("qemu-system") && line.contains(&needle)).collect()
}

#[test]
fn a_guest_boots_by_its_own_command_line_and_the_restored_bytes_stay() {
    let site = Site::new();
    let disks = [
        Disk::ext4(&site.lab.path(""), "files", Format::Qcow2, 64 * MIB),
        Disk::empty(&site.lab.path(""), "plain", Format::Raw, 8 * MIB),
    ];
    let variables = site.lab.path("vars.fd");
    disk::full(&variables, 128 << 10, 7);
    let guest = Guest::with_variables(Agent::Hooks, &disks, &variables);
    let socket = |path: PathBuf| format!("unix:{}", path.display());
    let (qmp, agent) = (socket(guest.machine.qmp()), socket(guest.agent()));
    site.host.json(&["machine", "add", "db-01", "--platform", "qemu", "--qmp", &qmp, "--agent", &agent]);
    guest.run("dd if=/dev/urandom of=/mnt/files/before bs=1M count=8; sync");
    assert!(site.host.run(&["backup", "db-01", "--json"]).code.is_some_and(|code| code != 1));
    // The old machine runs on, and the drill's has nothing to do with it.
    let before = machines(&site.lab.path("into")).len();
    let script = site.lab.path("check.sh");
    let content = "#!/bin/sh\nset -e\nfor disk in \"$STILLPOINT_DRILL_DISK_DISK_FILES\" \"$STILLPOINT_DRILL_DISK_DISK_PLAIN\"\ndo md5sum \"$disk\"\ndone\n";
    fs::write(&script, content).expect("a script can be written");
    tool("chmod", &["755", script.to_str().expect("text")]);
    let plan = "boot = { agent = true, timeout = \"10m\" }\nscript = \"check.sh\"\nchecks = [\"script\", \"boot\", \"manifest\"]";
    let drill = only(&site.run("db-01", plan), 0);
    assert_eq!(outcomes(&drill), [("manifest", "passed"), ("boot", "passed"), ("script", "passed")], "{drill:#}");
    let boot = check(&drill, "boot");
    assert!(text(boot, "/summary").starts_with("by its own command line; the guest agent answered after "), "{boot}");
    assert!(number(boot, "/boot_ms") > 0 && number(boot, "/boot_ms") <= number(boot, "/duration_ms"));
    let page = fs::read_to_string(text(&drill, "/page")).expect("the page is there");
    assert!(page.contains("<th>boot</th>") && page.contains("the guest agent answered"), "{page}");
    site.host.json(&["drill", "verify", text(&drill, "/report")]);
    assert_eq!(before, 0);
    site.assert_nothing_left();
    // What the guest's boot wrote to its file systems is not in what the script, which comes later, has seen.
    let folder = site.lab.path("restored");
    site.host.json(&["restore", "db-01", "--to", folder.to_str().expect("text")]);
    let sums = ["disk-files", "disk-plain"].map(|name| {
        let sum = std::process::Command::new("md5sum").arg(folder.join(format!("{name}.raw"))).output().expect("md5sum runs");
        String::from_utf8_lossy(&sum.stdout).split(' ').next().unwrap_or_default().to_owned()
    });
    let seen: Vec<&str> = check(&drill, "script")["details"]
        .as_array()
        .expect("lines")
        .iter()
        .filter_map(|line| line.as_str()?.split(' ').next())
        .collect();
    assert_eq!(seen, sums);
    assert_eq!(guest.machine.status(), "running");

    // What is waited for on its console.
    let plan = |word: &str| format!("boot = {{ {word}, timeout = \"10m\" }}\nchecks = [\"boot\"]");
    let drill = only(&site.run("db-01", &plan("serial_pattern = \"(?i)linux|[a-z]+\"")), 0);
    assert!(text(check(&drill, "boot"), "/summary").contains("the serial port said what /(?i)linux"), "{drill}");
}

#[test]
fn disks_of_a_platform_that_tells_nothing_boot_in_the_usual_machine() {
    let site = Site::with_boot_sector("os");
    let boot = |more: &str| format!("boot = {{ disk = \"os\", {EMULATED}, {more} }}\nchecks = [\"manifest\", \"boot\"]");
    for (sign, said) in [
        ("serial_text = \"small login:\"", "said 'small login:'"),
        ("serial_pattern = \"stage \\\\w+\\\\s+small [a-z]+:\"", "/stage "),
    ] {
        let drill = only(&site.run("web-01", &boot(sign)), 0);
        assert_eq!(outcomes(&drill), [("manifest", "passed"), ("boot", "passed")]);
        let summary = text(check(&drill, "boot"), "/summary");
        assert!(
            summary.starts_with("as a q35 machine with virtio disks; the serial port said") && summary.contains(said),
            "{summary}"
        );
    }
    // The right system, but not what was waited for.
    let done = site.run("web-01", &boot("serial_text = \"large login:\", timeout = \"15s\""));
    let drill = only(&done, 1);
    assert_eq!(check(&drill, "boot")["details"], json!(["stage two", "small login: "]), "{drill}");
    assert!(done.stderr.contains("drill of web-01 failed: boot: ") && done.stderr.contains("did not boot within 15 s"), "{done}");
    let drill = only(&site.run("web-01", &boot("agent = true, timeout = \"15s\"")), 1);
    assert!(text(check(&drill, "boot"), "/summary").contains("the guest agent did not answer"), "{drill}");
    let drill = only(&site.run("web-01", "boot = { disk = \"no\", agent = true }\nchecks = [\"boot\"]"), 1);
    assert!(text(check(&drill, "boot"), "/summary").contains("has no disk no"), "{drill}");
    site.assert_nothing_left();
}

#[test]
fn what_does_not_boot_fails_the_drill_and_leaves_nothing_running() {
    let site = Site::blank();
    let plan = |more: &str| {
        format!("boot = {{ serial_text = \"login:\", timeout = \"5s\", {more} }}\nchecks = [\"manifest\", \"boot\"]")
    };
    let drill = only(&site.run("web-01", &plan(EMULATED)), 1);
    assert_eq!(
        (outcomes(&drill), text(&drill, "/verdict")),
        (vec![("manifest", "passed"), ("boot", "failed")], "failed"),
        "{drill}"
    );
    site.assert_nothing_left();
    // QEMU itself refuses.
    let drill = only(&site.run("web-01", &plan("arguments = [\"-machine\", \"no-such\"]")), 1);
    let boot = check(&drill, "boot");
    assert!(text(boot, "/summary").contains("its QEMU ended") && text(boot, "/summary").contains("no-such"), "{boot}");
    // There is none.
    let tools = site.lab.path("tools");
    fs::create_dir(&tools).expect("a folder can be made");
    let host = site.host.set("PATH", tools.to_str().expect("text"));
    let site = Site { host, lab: site.lab };
    let drill = only(&site.run("web-01", &plan(EMULATED)), 1);
    assert!(text(check(&drill, "boot"), "/summary").contains("qemu-system-x86_64 is not installed here"), "{drill}");
}

#[test]
fn a_machine_outlives_no_drill_however_that_ends() {
    let site = Site::blank();
    let plan = format!("boot = {{ serial_text = \"login:\", timeout = \"1h\", {EMULATED} }}\nchecks = [\"boot\"]");
    let runs = || machines(&site.lab.path("into")).len() == 1;
    let mut running = site.spawn("web-01", &plan);
    assert!(running.reaches(runs), "it boots");
    assert!(running.interrupt().error().contains("interrupted by the operator"));
    site.assert_nothing_left();

    let mut running = site.spawn("web-01", &plan);
    assert!(running.reaches(runs), "it boots");
    assert!(machines(&site.lab.path("into"))[0].contains("-nic none"));
    drop(running.kill());
    assert!(runs(), "nobody ends it then");
    let drill = only(&site.run("web-01", "checks = [\"manifest\"]"), 0);
    assert_eq!(text(&drill, "/verdict"), "passed");
    site.assert_nothing_left();
}

#[test]
fn the_paired_region_boots() {
    let site = Site::with_boot_sector("b-os");
    site.host.json(&["vault", "pair", "--with", &site.lab.arg("replica")]);
    site.host.json(&["replicate"]);
    let plan = format!(
        "from = \"paired\"\nboot = {{ disk = \"b-os\", serial_text = \"login:\", {EMULATED} }}\nchecks = [\"manifest\", \"boot\"]"
    );
    let drill: Value = only(&site.run("web-01", &plan), 0);
    assert_eq!((text(&drill, "/from"), outcomes(&drill)), ("paired", vec![("manifest", "passed"), ("boot", "passed")]));
    assert!(text(&drill, "/url").ends_with("/replica"), "{drill}");
    site.assert_nothing_left();
}
