//! Platform `libvirt`, on a libvirt that runs.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::Value;
use stillpoint_tests::{
    Host, Lab,
    disk::{MIB, assert_same},
    live::{Disk, Domain, Format},
};

use super::estate::{MACHINE, backup, newest, read, resets, restored};

fn disks(folder: &Path) -> Vec<Disk> {
    vec![
        Disk::ext4(folder, "vda", Format::Qcow2, 64 * MIB),
        Disk::empty(folder, "vdb", Format::Qcow2, 16 * MIB),
        Disk::empty(folder, "vdc", Format::Raw, 8 * MIB),
    ]
}

fn add(host: &Host, domain: &Domain, more: &[&str]) {
    let (uri, sockets) = (domain.uri(), format!("sockets={}", domain.sockets().display()));
    let args =
        ["machine", "add", MACHINE, "--platform", "libvirt", "--uri", &uri, "--domain", Domain::NAME, "--setting", &sockets];
    host.json(&[&args[..], more].concat());
}

/// Backs up while nothing changes, and shows that the point is what the disks are, and that nothing is left.
fn still_point(lab: &Lab, host: &Host, domain: &Domain) -> Value {
    let runs = domain.state().starts_with("running");
    if runs {
        domain.virsh(&["suspend", Domain::NAME]);
    }
    let copies = lab.path(&format!("copies-{}", host.points(MACHINE).len()));
    domain.independent_copy(&copies);
    let point = backup(host, "crash");
    if runs {
        domain.virsh(&["resume", Domain::NAME]);
    }
    let folder = restored(lab, host, point["id"].as_str().expect("a point has an id"));
    for disk in domain.disks() {
        let name = format!("{}.raw", disk.name);
        assert_same(&copies.join(&name), &folder.join(&name));
    }
    assert_clean(domain);
    point
}

fn assert_clean(domain: &Domain) {
    assert!(!domain.has_job());
    assert_eq!(domain.leftover_files(), Vec::<String>::new());
}

#[test]
fn a_domain_is_backed_up_by_its_changes_through_crashes_and_power_cycles() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let domain = Domain::start(disks);
    add(&host, &domain, &[]);
    domain.run("dd if=/dev/urandom of=/mnt/vda/old bs=1M count=20 2>/dev/null; sync");
    let full = backup(&host, "application");
    assert_eq!((resets(&full), full["consistency"]["obtained"].as_str()), (vec![], Some("application")), "{full}");
    assert!(full["frozen_ms"].as_u64().is_some_and(|frozen| frozen > 0), "{full}");
    assert_eq!(domain.state().split(' ').next(), Some("running"));
    domain.run("[ ! -e /run/agent/qga.state.isfrozen ]");
    assert_clean(&domain);

    domain.run("dd if=/dev/urandom of=/dev/disk/vdb bs=64k seek=3 count=2 conv=notrunc,fsync 2>/dev/null");
    domain.run("dd if=/dev/urandom of=/dev/disk/vdc bs=64k count=1 conv=notrunc,fsync 2>/dev/null");
    let point = still_point(&lab, &host, &domain);
    let found = resets(&point);
    assert!(matches!(&found[..], [(disk, reason)] if disk == "vdc" && reason.contains("format raw")), "{found:?}");
    assert!((2 * 65536..4 * MIB).contains(&read(&point)), "{point}");
    assert_eq!(domain.checkpoints().len(), 1);

    // Checkpoints outlive an orderly end of the domain; of one that is off all is read.
    domain.power_off();
    let point = still_point(&lab, &host, &domain);
    let found = resets(&point);
    assert!(found.len() == 3 && found.iter().all(|(_, reason)| reason.contains("off")), "{found:?}");
    domain.boot();
    assert_eq!(resets(&still_point(&lab, &host, &domain)).len(), 3, "what was begun while it was off is unknown to libvirt");
    domain.power_off();
    domain.boot();
    domain.run("dd if=/dev/urandom of=/dev/disk/vdb bs=64k seek=9 count=1 conv=notrunc,fsync 2>/dev/null");
    let point = still_point(&lab, &host, &domain);
    assert_eq!(resets(&point).len(), 1, "{point}");
    assert!(read(&point) < 4 * MIB, "{point}");

    domain.run("dd if=/dev/urandom of=/dev/disk/vdb bs=64k seek=20 count=1 conv=notrunc,fsync 2>/dev/null");
    domain.kill();
    domain.boot();
    let point = still_point(&lab, &host, &domain);
    let found = resets(&point);
    assert!(
        matches!(&found[..], [(_, a), (_, b), (raw, _)] if a.contains("crashed") && b.contains("crashed") && raw == "vdc"),
        "{found:?}"
    );
    assert_eq!(resets(&still_point(&lab, &host, &domain)).len(), 1);
    assert_eq!(domain.checkpoints().len(), 1);
}

#[test]
fn what_a_killed_backup_leaves_is_taken_away_and_scratch_that_fills_up_does_not_stop_the_guest() {
    let lab = Lab::new();
    let (domain, mounted) = Domain::start_with_scratch("12m", disks);
    let host = lab.host_with_vault().within(&mounted);
    let scratch = domain.scratch();
    add(&host, &domain, &["--exclude", "vdc", "--scratch", scratch.to_str().expect("a path is text")]);
    domain.run("dd if=/dev/urandom of=/mnt/vda/old bs=1M count=40 2>/dev/null; sync");
    let parts = || stillpoint_tests::disk::names(&mounted.from_outside(&scratch));

    // Nobody of us runs when the guest overwrites more than there is room for.
    let slow = || host.set("STILLPOINT_BYTES_PER_SECOND", "1MiB").spawn(&["backup", MACHINE, "--json"]);
    let mut running = slow();
    assert!(running.reaches(|| domain.has_job()), "it has begun");
    running.stop();
    assert!(domain.is_watched() && domain.has_job(), "it waits");
    domain.run("dd if=/dev/urandom of=/mnt/vda/old bs=1M count=40 conv=notrunc 2>/dev/null; sync");
    domain.until("the job is not given up", || !domain.has_job());
    domain.until("the guest stands still", || domain.state().starts_with("running"));
    let done = {
        running.go_on();
        running.finish()
    };
    assert!(done.code == Some(1) && done.error().contains("given up so that the guest goes on"), "{done}");
    assert_clean(&domain);
    assert_eq!(parts(), Vec::<String>::new());
    assert_eq!(domain.checkpoints(), Vec::<String>::new());

    let mut running = slow();
    assert!(running.reaches(|| domain.has_job()), "it has begun");
    drop(running.kill());
    assert!(domain.has_job(), "it outlives us");
    let line = host.fails(&["machine", "untrack", MACHINE]);
    assert!(line.contains("reads the machine's disks"), "{line}");
    let done = host.run(&["backup", MACHINE, "--json"]);
    assert!(matches!(done.code, Some(0 | 3)), "{done}");
    assert_eq!(resets(&newest(&host)), vec![]);
    assert_clean(&domain);
    assert_eq!(parts(), Vec::<String>::new());
    assert_eq!(domain.checkpoints().len(), 1);
}

#[test]
fn a_guest_that_nobody_watches_over_goes_on_with_the_next_backup() {
    let lab = Lab::new();
    let (domain, mounted) = Domain::start_with_scratch("12m", |folder| vec![Disk::ext4(folder, "vda", Format::Qcow2, 64 * MIB)]);
    let host = lab.host_with_vault().within(&mounted);
    add(&host, &domain, &["--scratch", domain.scratch().to_str().expect("a path is text")]);
    domain.run("dd if=/dev/urandom of=/mnt/vda/old bs=1M count=40 2>/dev/null; sync");
    // QEMU tells late of what it cannot tell at once: so the next backup comes at different times after the first error.
    for round in 0..8 {
        let mut running = host.set("STILLPOINT_BYTES_PER_SECOND", "1MiB").spawn(&["backup", MACHINE, "--json"]);
        assert!(running.reaches(|| domain.has_job()), "it has begun");
        drop(running.kill());
        domain.kill_watch();
        assert!(domain.has_job(), "it outlives us");
        domain.spawn("dd if=/dev/urandom of=/mnt/vda/old bs=1M count=40 conv=notrunc 2>/dev/null; sync; touch /run/written");
        domain.until("the guest does not stand still", || domain.state().starts_with("paused (I/O error)"));
        std::thread::sleep(std::time::Duration::from_millis(150 * round));
        // The guest writes on, and may use up this one's scratch as well.
        let done = host.run(&["backup", MACHINE, "--json"]);
        assert!(matches!(done.code, Some(0 | 1 | 3)), "{done}");
        domain.until("libvirt says that the guest stands still", || domain.state().starts_with("running"));
        domain.run("until [ -e /run/written ]; do sleep 0.05; done; rm /run/written");
        assert!(domain.state().starts_with("running"), "round {round}: {}", domain.state());
        assert_clean(&domain);
    }
}

#[test]
fn a_point_becomes_a_domain_beside_the_old_one() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let domain = Domain::start(disks);
    add(&host, &domain, &["--exclude", "vdc"]);
    let sum = "cd /mnt/vda; sha256sum old";
    let was = domain.run(&format!("dd if=/dev/urandom of=/mnt/vda/old bs=1M count=20 2>/dev/null; sync; {sum}"));
    backup(&host, "application");
    domain.run("dd if=/dev/urandom of=/mnt/vda/old bs=1M count=1 conv=notrunc 2>/dev/null; sync");

    let folder = domain.beside();
    let to = folder.to_str().expect("a path is text");
    let restore = ["restore", MACHINE, "--to", to, "--format", "qcow2", "--as"];
    for (more, said) in
        [(&[Domain::NAME][..], "has a domain db already"), (&["db-02", "--same-identity"], "has a domain with the UUID")]
    {
        let line = host.fails(&[&restore[..], more].concat());
        assert!(line.contains(said), "{line}");
        assert!(!folder.exists(), "nothing was restored");
    }
    let done = host.run(&[&restore[..], &["db-02", "--json"]].concat());
    assert_eq!(done.code, Some(3), "{done}");
    let report = done.json();
    assert_eq!(report["domain"], "db-02");
    assert!(report["warnings"][0].as_str().is_some_and(|line| line.contains("vdc is not in the point")), "{report}");
    let file = folder.join("db-02.xml");
    assert_eq!(fs::metadata(&file).expect("it is kept").permissions().mode() & 0o777, 0o600);
    let line = host.fails(&["restore", MACHINE, "--to", lab.path("more").to_str().expect("text"), "--as", "db-02"]);
    assert!(line.contains("has a domain db-02 already"), "{line}");

    assert_eq!(domain.run_beside("db-02", 2, sum), was);
    assert_ne!(domain.virsh(&["domuuid", "db-02"]), domain.virsh(&["domuuid", Domain::NAME]));
    assert_ne!(domain.run(sum), was, "the old one runs on");

    // Its first self is gone.
    domain.virsh(&["destroy", "db-02"]);
    domain.virsh(&["undefine", "db-02"]);
    let uuid = domain.virsh(&["domuuid", Domain::NAME]);
    host.json(&["machine", "untrack", MACHINE]);
    assert_eq!(domain.checkpoints(), Vec::<String>::new());
    domain.power_off();
    domain.virsh(&["undefine", Domain::NAME]);
    let done = host.run(&[&restore[..], &[Domain::NAME, "--same-identity", "--overwrite", "--json"]].concat());
    assert_eq!(done.code, Some(3), "{done}");
    assert_eq!(domain.run_beside(Domain::NAME, 2, sum), was);
    assert_eq!(domain.virsh(&["domuuid", Domain::NAME]), uuid);
}

#[test]
fn disks_of_a_domain_are_replaced_when_it_is_off_and_tracking_begins_anew() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let domain = Domain::start(|folder| vec![Disk::ext4(folder, "vda", Format::Qcow2, 64 * MIB)]);
    add(&host, &domain, &[]);
    let sum = "cd /mnt/vda; sha256sum old";
    let was = domain.run(&format!("dd if=/dev/urandom of=/mnt/vda/old bs=1M count=20 2>/dev/null; sync; {sum}"));
    backup(&host, "application");
    domain.run("rm /mnt/vda/old; sync");
    let line = host.fails(&["restore", MACHINE, "--replace"]);
    assert!(line.contains("is on") && line.contains("--stop"), "{line}");
    host.run(&["restore", MACHINE, "--replace", "--stop=force"]).ok();
    assert!(domain.state().starts_with("shut off"));
    domain.boot();
    assert_eq!(domain.run(sum), was);

    let found = resets(&still_point(&lab, &host, &domain));
    assert!(matches!(&found[..], [(_, reason)] if reason.contains("another image")), "{found:?}");
    assert_eq!(resets(&still_point(&lab, &host, &domain)), vec![]);
    domain.power_off();
    let bitmaps = || {
        let disk = domain.disks()[0].path.to_str().expect("a path is text").to_owned();
        let done = Command::new("qemu-img").args(["info", "--output=json", &disk]).output().expect("qemu-img is installed");
        let told: Value = serde_json::from_slice(&done.stdout).expect("it answers in JSON");
        told.pointer("/format-specific/data/bitmaps").and_then(Value::as_array).map_or(0, Vec::len)
    };
    assert_eq!((bitmaps(), domain.checkpoints().len()), (1, 1));
    assert_eq!(host.json(&["machine", "untrack", MACHINE])["disks"], 1);
    assert_eq!((bitmaps(), domain.checkpoints().len()), (0, 0));
    domain.boot();
    assert_eq!(resets(&still_point(&lab, &host, &domain)).len(), 1);
}

/// Another domain beside the guest, whose firmware has variables; it never starts its processors.
fn define_firmware(domain: &Domain, disk: &Disk, code: &Path, variables: &Path) {
    let xml = format!(
        "<domain type='qemu'><name>fw</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
        <os><type arch='x86_64' machine='q35'>hvm</type><loader readonly='yes' type='pflash'>{}</loader><nvram>{}</nvram></os>
        <features><acpi/></features><devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>
        <target dev='vda' bus='virtio'/></disk><memballoon model='none'/></devices></domain>",
        code.display(),
        variables.display(),
        disk.path.display()
    );
    let file = variables.with_extension("xml");
    fs::write(&file, xml).expect("a file can be written");
    domain.virsh(&["define", file.to_str().expect("a path is text")]);
}

#[test]
fn firmware_variables_of_a_domain_come_back_with_it() {
    let lab = Lab::new();
    let host = lab.host_with_vault();
    let domain = Domain::start(|folder| {
        fs::write(folder.join("code.fd"), stillpoint_tests::disk::noise(1, 256 << 10)).expect("a file can be written");
        fs::write(folder.join("vars.fd"), stillpoint_tests::disk::noise(2, 528 << 10)).expect("a file can be written");
        vec![Disk::empty(folder, "vda", Format::Qcow2, 16 * MIB), Disk::empty(folder, "vdb", Format::Qcow2, 16 * MIB)]
    });
    let disk = domain.disks()[1].clone();
    let folder = disk.path.parent().expect("a disk lies in a folder").to_owned();
    let (code, variables, expected) = (folder.join("code.fd"), folder.join("vars.fd"), lab.path("expected.fd"));
    fs::copy(&variables, &expected).expect("a file can be copied");
    // Its image is the guest's no more.
    domain.power_off();
    define_firmware(&domain, &disk, &code, &variables);
    let (uri, sockets) = (domain.uri(), format!("sockets={}", domain.sockets().display()));
    host.json(&["machine", "add", "fw", "--platform", "libvirt", "--uri", &uri, "--domain", "fw", "--setting", &sockets]);
    let warnings = || {
        let point = host.points("fw").pop().expect("there is a point");
        let all = point["warnings"].as_array().expect("a list").iter().filter_map(Value::as_str).map(str::to_owned);
        all.filter(|line| line.contains("firmware")).collect::<Vec<_>>()
    };
    let back = |name: &str| {
        let to = domain.beside().join(name);
        let args = ["restore", "fw", "--to", to.to_str().expect("a path is text"), "--format", "qcow2", "--as", name, "--json"];
        let report = host.run(&args).json();
        let file = to.join("firmware-variables.fd");
        assert_eq!(report["firmware_variables"].as_str(), file.to_str(), "{report}");
        assert_same(&expected, &file);
        assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
        file
    };

    let back_up = || {
        let done = host.run(&["backup", "fw"]);
        assert!(matches!(done.code, Some(0 | 3)), "{done}");
    };

    // Off, on, and on once more when the file cannot be read.
    back_up();
    assert_eq!(warnings(), Vec::<String>::new());
    back("fw-02");
    domain.virsh(&["start", "--paused", "fw"]);
    back_up();
    assert_eq!(warnings(), Vec::<String>::new());
    let file = back("fw-03");
    let away = variables.with_extension("away");
    fs::rename(&variables, &away).expect("a file can be moved");
    back_up();
    assert!(
        matches!(&warnings()[..], [line] if line.contains(variables.to_str().expect("text")) && line.contains("are not in the point"))
    );
    fs::rename(&away, &variables).expect("a file can be moved");

    // The new domain starts with them, and has nothing of the old one's.
    let described = domain.virsh(&["dumpxml", "--inactive", "fw-03"]);
    assert!(
        described.contains(file.to_str().expect("text")) && !described.contains(variables.to_str().expect("text")),
        "{described}"
    );
    domain.start_beside("fw-03");
    domain.virsh(&["destroy", "fw-03"]);
    domain.virsh(&["destroy", "fw"]);
    assert_same(&expected, &variables);
}
