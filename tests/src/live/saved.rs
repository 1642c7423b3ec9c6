use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use serde_json::json;

use super::{
    machine::{Machine, hardware},
    qmp::Monitor,
    shell::Shell,
};
use crate::servers::tool;

/// A guest that has booted, in files that every [`super::Guest`] begins from.
pub(crate) struct Saved {
    /// What a machine has to be started with so that its memory fits.
    words: Vec<String>,
    memory: PathBuf,
}

impl Saved {
    /// The saved guest; boots one and saves it where this QEMU has not done so yet.
    pub(crate) fn guest() -> Self {
        let kernel = tool("guest/vmlinuz");
        let folder = kernel.parent().expect("the kernel lies in a folder");
        let words: Vec<String> = ["-m", "192", "-kernel"]
            .map(str::to_owned)
            .into_iter()
            .chain([text(&kernel), "-initrd".to_owned(), text(&folder.join("initrd"))])
            .collect();
        let version = Command::new("qemu-system-x86_64").arg("--version").output();
        let version = version.expect("qemu-system-x86_64 is installed (tests/run does it)").stdout;
        // Memory fits the same program with the same devices only.
        let shape = format!("{}{:?}{words:?}", String::from_utf8_lossy(&version), hardware());
        let name = format!("memory-{}", &HEXLOWER.encode(digest(&SHA256, shape.as_bytes()).as_ref())[..16]);
        let saved = Self { words, memory: folder.join(name) };
        let lock = File::create(folder.join("lock")).expect("the folder of the tools can be written");
        lock.lock().expect("a file can be locked");
        if !saved.memory.exists() {
            saved.save();
        }
        saved
    }

    /// Starts QEMU for a machine that is off.
    pub(crate) fn turn_on(&self, machine: &mut Machine, agent: &str, more: &[String]) {
        let mut words = self.words.clone();
        words.extend(["-append".to_owned(), format!("console=ttyS0 quiet agent={agent}")]);
        words.extend(["-serial".to_owned(), format!("file:{}", machine.path("console").display())]);
        words.extend(["-device".to_owned(), "virtio-serial-pci,id=ports".to_owned()]);
        for (name, port) in [("agent", "org.qemu.guest_agent.0"), ("test", "test")] {
            let socket = format!("socket,id={name},path={},server=on,wait=off", machine.path(name).display());
            let device = format!("virtserialport,chardev={name},name={port}");
            words.extend(["-chardev".to_owned(), socket, "-device".to_owned(), device]);
        }
        words.extend_from_slice(more);
        machine.turn_on(&words);
    }

    /// Reads the memory into a machine that was started with `-S -incoming defer`; it stands still afterwards.
    pub(crate) fn read_into(&self, machine: &Machine) {
        let mut monitor = machine.monitor();
        prepare(&mut monitor);
        monitor.execute("migrate-incoming", json!({"uri": format!("file:{}", self.memory.display())}));
        while monitor.execute("query-status", json!({}))["status"] == "inmigrate" {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn save(&self) {
        let mut machine = Machine::off(&[]);
        self.turn_on(&mut machine, "none", &[]);
        let booted = Shell::connect(&machine.path("test"));
        // The agent is to find nobody at the other end when it wakes up.
        drop(booted);
        let partial = self.memory.with_extension("partial");
        {
            let mut monitor = machine.monitor();
            monitor.execute("stop", json!({}));
            prepare(&mut monitor);
            monitor.execute("migrate", json!({"uri": format!("file:{}", partial.display())}));
            loop {
                let told = monitor.execute("query-migrate", json!({}));
                match told["status"].as_str() {
                    Some("completed") => break,
                    Some("failed") => panic!("the guest's memory is not saved: {told}"),
                    _ => thread::sleep(Duration::from_millis(20)),
                }
            }
        }
        machine.power_off();
        fs::rename(&partial, &self.memory).expect("the memory can be put in place");
    }
}

/// Each page at its own place in the file: quick to write and to read.
fn prepare(monitor: &mut Monitor) {
    let capability = json!({"capability": "mapped-ram", "state": true});
    monitor.execute("migrate-set-capabilities", json!({"capabilities": [capability]}));
}

fn text(path: &Path) -> String {
    path.to_str().expect("paths of tools are text").to_owned()
}
