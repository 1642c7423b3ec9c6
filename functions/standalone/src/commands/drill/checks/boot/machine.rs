//! The machine that a check boots: its own, where the point tells how it was started, or one that most systems boot in.

use std::path::{Path, PathBuf};

use stillpoint_model::{DiskName, Error, ErrorKind, Result};
use stillpoint_nbd::Address;
use stillpoint_policy_file::BootEntry;
use stillpoint_ports::FirmwareVariables;
use stillpoint_qemu::Overlay;
use stillpoint_vault::Description;

use super::super::Restored;
use crate::{
    commands::restore::{Configuration, Restored as Image, disks_of, installed, write_variables},
    start::{AGENT, Reach, Request, Variables, script},
};

/// The machine that is made where the point does not tell of one.
const PROGRAM: &str = "qemu-system-x86_64";
const USUAL: [&str; 7] = ["-machine", "q35,accel=kvm:tcg", "-m", "1G", "-nodefaults", "-device", "VGA"];
const TOOLS: &str = "qemu-img";
const SCRIPT: &str = "start.sh";

/// A machine that can be started.
pub struct Made {
    pub script: PathBuf,
    /// How it was made, in words.
    pub how: &'static str,
}

/// Makes its overlays and its script in `folder`.
pub fn make(restored: &Restored, boot: &BootEntry, folder: &Path) -> Result<Made> {
    // Said before QEMU fails for it.
    Address::unix(folder.join(AGENT))?;
    let told = told(restored)?;
    let own = told.as_ref().map(|told| Configuration::read(&told.configuration)).transpose()?;
    let how = match &told {
        Some(told) if told.of == restored.point.id => "by its own command line",
        Some(_) => "by its command line at another point, as it was off at this one",
        None => "as a q35 machine with virtio disks",
    };
    let program = own.as_ref().and_then(|own| own.arguments.first().cloned()).unwrap_or_else(|| PROGRAM.to_owned());
    for program in [program.as_str(), TOOLS] {
        installed(program)?;
    }
    let images = overlays(restored, folder)?;
    let kept = variables(told, folder)?;
    let (mut arguments, disks) = match own {
        Some(own) => (own.arguments, restored.handle.block_on(disks_of(&restored.vault, &restored.machine, images))),
        None => (usual(boot, &images)?, Vec::new()),
    };
    arguments.extend(boot.arguments.iter().cloned());
    let name = restored.machine.as_str();
    let variables = kept.as_ref().map(|(variables, file)| Variables { was: &variables.file, file });
    let made = script(Request { arguments, name, folder, disks: &disks, variables, fresh: None, reach: Reach::Nothing })?;
    if let Some(why) = made.obstacles.first() {
        return Err(Error::conflict(format!("it cannot be booted apart from the old machine: {why}")));
    }
    let path = folder.join(SCRIPT);
    std::fs::write(&path, made.text)?;
    Ok(Made { script: path, how })
}

/// How the machine was started, if it was one of QEMU's: at this point, or at another where it was on.
fn told(restored: &Restored) -> Result<Option<Description>> {
    let is_qemu = match restored.handle.block_on(restored.vault.item(&restored.machine)) {
        Ok(item) => item.platform == "qemu",
        Err(error) if error.kind() == ErrorKind::Missing => true,
        Err(error) => return Err(error),
    };
    if is_qemu { restored.handle.block_on(restored.vault.description(&restored.point)) } else { Ok(None) }
}

/// What its firmware remembers, in a file that the machine may write to.
fn variables(told: Option<Description>, folder: &Path) -> Result<Option<(FirmwareVariables, PathBuf)>> {
    let kept = told.and_then(|told| told.firmware_variables);
    kept.map(|variables| write_variables(folder, &variables).map(|file| (variables, file))).transpose()
}

/// Images that take what the machine writes.
fn overlays(restored: &Restored, folder: &Path) -> Result<Vec<Image>> {
    let mut images = Vec::with_capacity(restored.disks.len());
    for (name, path) in &restored.disks {
        let image = folder.join(format!("{name}.qcow2"));
        let size_bytes = std::fs::metadata(path)?.len();
        let overlay = Overlay { disk: name.clone(), size_bytes, image: image.clone() };
        restored.handle.block_on(overlay.create_over(path))?;
        images.push(Image { name: name.clone(), file: image, format: "qcow2" });
    }
    Ok(images)
}

/// The disk that is named first, since the firmware tries no other, then the others in their order.
fn usual(boot: &BootEntry, images: &[Image]) -> Result<Vec<String>> {
    let mut order: Vec<&Image> = images.iter().collect();
    if let Some(first) = &boot.disk {
        let is_there = |name: &DiskName| images.iter().any(|image| image.name == *name);
        if !is_there(first) {
            return Err(Error::missing(format!("the point has no disk {first} to boot from")));
        }
        order.sort_by_key(|image| image.name != *first);
    }
    let mut words: Vec<String> = std::iter::once(PROGRAM).chain(USUAL).map(str::to_owned).collect();
    for (place, image) in order.iter().enumerate() {
        // A comma that is meant stands twice.
        let file = image.file.to_string_lossy().replace(',', ",,");
        let drive = format!("file={file},format={},if=none,id=disk{place}", image.format);
        let device = format!("virtio-blk-pci,drive=disk{place},bootindex={place}");
        words.extend(["-drive".to_owned(), drive, "-device".to_owned(), device]);
    }
    Ok(words)
}
