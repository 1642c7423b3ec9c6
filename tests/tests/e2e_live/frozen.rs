use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stillpoint_tests::{
    Host, Lab,
    disk::MIB,
    live::{Agent, At, Disk, Fault, Format, Guest, Relay},
};

use super::estate::{MACHINE, assert_clean, backup, newest, socket};

/// A guest with one file system, behind relays.
struct Site {
    host: Host,
    guest: Guest,
    monitor: Relay,
    agent: Relay,
    _lab: Lab,
}

impl Site {
    fn new(agent: Agent) -> Self {
        let lab = Lab::new();
        let host = lab.host_with_vault();
        let guest = Guest::start(agent, &[Disk::ext4(&lab.path(""), "files", Format::Qcow2, 64 * MIB)]);
        let monitor = Relay::start(guest.machine.qmp().with_file_name("relay"), guest.machine.qmp());
        let agent = Relay::start(guest.machine.qmp().with_file_name("liar"), guest.agent());
        let site = Self { host, guest, monitor, agent, _lab: lab };
        site.add(&[]);
        site
    }

    fn add(&self, more: &[&str]) {
        let (qmp, agent) = (socket(self.monitor.socket()), socket(self.agent.socket()));
        let args = ["machine", "add", MACHINE, "--replace", "--platform", "qemu", "--qmp", &qmp, "--agent", &agent];
        self.host.json(&[&args[..], more].concat());
    }

    /// Begins a backup and holds it while the guest is frozen, right before the cut.
    fn frozen(&self) -> stillpoint_tests::Running {
        self.monitor.set(At::Name("blockdev-reopen"), Fault::Hold);
        let mut running = self.host.spawn(&["backup", MACHINE, "--consistency", "application", "--json"]);
        assert!(running.reaches(|| self.monitor.is_holding()));
        assert!(self.guest.is_frozen());
        running
    }

    /// Writes to the file system that was frozen: this waits until it is not any more.
    fn write(&self) {
        self.guest.run("echo on >/mnt/files/on; sync");
    }
}

fn obtained(point: &Value) -> &str {
    point["consistency"]["obtained"].as_str().expect("a word")
}

#[test]
fn a_guest_whose_backup_is_killed_while_it_is_frozen_thaws_by_itself() {
    let site = Site::new(Agent::Hooks);
    site.guest.write_rows("files");
    site.guest.wait_past(0, Guest::rows_acknowledged);
    let running = site.frozen();
    let begun = Instant::now();
    drop(running.kill());
    site.write();
    let waited = begun.elapsed();
    println!("thawed {:.1} s after the kill", waited.as_secs_f64());
    assert!(waited < Duration::from_secs(20), "{waited:?}");
    // Applications were told that the freeze is over as well.
    site.guest.run("until grep -q running /mnt/files/application-state; do sleep 0.1; done");
    let rows = site.guest.rows_acknowledged();
    site.guest.wait_past(rows, Guest::rows_acknowledged);
    site.monitor.go_on();
    let point = backup(&site.host, "application");
    assert_eq!(obtained(&point), "application", "{point}");
    assert!(!site.guest.is_frozen());
    assert_clean(&site.guest.machine);
}

#[test]
fn a_guest_that_freezes_only_after_its_backup_was_killed_thaws_by_itself() {
    let site = Site::new(Agent::Hooks);
    // The hook is still at it when the watchdog looks for the first time.
    site.guest.run("echo 11 >/run/hook-slow");
    let mut running = site.host.spawn(&["backup", MACHINE, "--consistency", "application", "--json"]);
    assert!(running.reaches(|| site.agent.commands().iter().any(|command| command == "guest-fsfreeze-freeze")));
    drop(running.kill());
    site.guest.run("until [ -e /run/agent/qga.state.isfrozen ]; do sleep 0.1; done; rm -f /run/hook-slow; sleep 0.5");
    site.write();
    assert_eq!(obtained(&backup(&site.host, "application")), "application");
    assert!(!site.guest.is_frozen());
    assert_clean(&site.guest.machine);
}

#[test]
fn a_point_whose_guest_thawed_before_its_cut_says_crash() {
    let site = Site::new(Agent::Hooks);
    let running = site.frozen();
    running.stop();
    site.write();
    site.monitor.go_on();
    running.go_on();
    let _done = running.finish().ok();
    let point = newest(&site.host);
    assert_eq!(obtained(&point), "crash", "{point}");
    assert!(point["warnings"].to_string().contains("somebody thawed the guest before"), "{point}");
    assert!(!site.guest.is_frozen());
    assert_clean(&site.guest.machine);
}

#[test]
fn an_agent_that_is_silent_or_lies_lowers_the_point_and_leaves_the_guest_going() {
    let site = Site::new(Agent::Plain);
    let returns = |value: Value| Fault::Answer(json!({ "return": value }));
    let troubles = [
        ("guest-sync-delimited", Fault::Silence, "does not answer"),
        ("guest-sync-delimited", Fault::Bytes(b"\xff{]\n"), "sent no JSON"),
        ("guest-sync-delimited", Fault::Close, "closed the connection"),
        ("guest-fsfreeze-freeze", returns(json!(1)), "somebody thawed the guest before"),
        ("guest-fsfreeze-freeze", returns(json!("yes")), "no file system"),
        ("guest-fsfreeze-freeze", Fault::Silence, "does not answer"),
        ("guest-fsfreeze-freeze", Fault::Close, "closed the connection"),
        ("guest-fsfreeze-thaw", returns(json!(9)), "could not be thawed"),
        ("guest-exec", Fault::refusal("CommandNotFound", "The command guest-exec has been disabled"), "nothing in the guest"),
    ];
    for (command, fault, reason) in troubles {
        site.agent.set(At::Name(command), fault.clone());
        let point = backup(&site.host, "file-system");
        let told = format!("{command} {fault:?}: {point}");
        assert_eq!(obtained(&point), "crash", "{told}");
        assert!(point["warnings"].to_string().contains(reason), "{told}");
        if reason == "nothing in the guest" {
            assert!(!site.agent.commands().contains(&"guest-fsfreeze-freeze".to_owned()), "{:?}", site.agent.commands());
        }
        site.write();
        assert_clean(&site.guest.machine);
    }
    site.add(&["--freeze", "always"]);
    assert_eq!(obtained(&backup(&site.host, "file-system")), "file-system");
    site.agent.go_on();
    site.add(&[]);
    assert_eq!(obtained(&backup(&site.host, "file-system")), "file-system");
    assert!(!site.guest.is_frozen());
}
