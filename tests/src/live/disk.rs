use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::disk::range;

/// How a disk's bytes lie in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As they are. QEMU keeps no bitmap in it.
    Raw,
    /// QEMU's own format, which keeps bitmaps.
    Qcow2,
}

/// A disk of a live machine. Its name is the name of its node, the serial number that the guest sees, and with `disk-` before it
/// the id of its device.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its name.
    pub name: String,
    /// Its file.
    pub path: PathBuf,
    /// The file's format.
    pub format: Format,
}

impl Format {
    fn word(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl Disk {
    /// A disk whose file exists.
    #[must_use]
    pub fn over(name: &str, path: &Path, format: Format) -> Self {
        Self { name: name.to_owned(), path: path.to_owned(), format }
    }

    /// An empty disk, in a new file in `folder`.
    #[must_use]
    pub fn empty(folder: &Path, name: &str, format: Format, bytes: u64) -> Self {
        let disk = Self::over(name, &folder.join(format!("{name}.{}", format.word())), format);
        qemu_img(&["create", "-q", "-f", format.word(), arg(&disk.path), &bytes.to_string()]);
        disk
    }

    /// A disk with the bytes of a raw image, in a new file in `folder`.
    #[must_use]
    pub fn with_bytes_of(image: &Path, folder: &Path, name: &str, format: Format) -> Self {
        let disk = Self::over(name, &folder.join(format!("{name}.{}", format.word())), format);
        qemu_img(&["convert", "-f", "raw", "-O", format.word(), arg(image), arg(&disk.path)]);
        disk
    }

    /// A disk with an empty ext4 file system, which the guest mounts at `/mnt/NAME`.
    #[must_use]
    pub fn ext4(folder: &Path, name: &str, format: Format, bytes: u64) -> Self {
        let image = folder.join(format!("{name}.ext4"));
        File::create(&image).and_then(|file| file.set_len(bytes)).expect("an image can be made");
        let mut command = Command::new("mke2fs");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").args(["-q", "-t", "ext4", "-E", "lazy_itable_init=0"]).arg(&image);
        assert!(command.status().expect("mke2fs is installed (tests/run does it)").success(), "mke2fs works");
        let disk = Self::with_bytes_of(&image, folder, name, format);
        fs::remove_file(&image).expect("the image can be removed");
        disk
    }

    /// The disk with a new overlay in a file over it.
    pub(crate) fn over_it(&self, overlay: &Path) -> Self {
        qemu_img(&["create", "-q", "-f", "qcow2", "-F", self.format.word(), "-b", arg(&self.path), arg(overlay)]);
        Self::over(&self.name, overlay, Format::Qcow2)
    }

    /// Writes the disk's bytes, as QEMU's own tools read them, to a raw image. The disk may be in use: then only what has been
    /// flushed is sure to be there.
    pub fn copy_to(&self, image: &Path) {
        qemu_img(&["convert", "-U", "-f", self.format.word(), "-O", "raw", arg(&self.path), arg(image)]);
    }

    /// The id of its device.
    #[must_use]
    pub fn device(&self) -> String {
        format!("disk-{}", self.name)
    }

    /// What `blockdev-add` takes.
    pub(crate) fn node(&self) -> Value {
        let file = json!({"driver": "file", "node-name": format!("{}-file", self.name), "filename": self.path,
            "discard": "unmap"});
        json!({"driver": self.format.word(), "node-name": self.name, "file": file, "discard": "unmap"})
    }

    /// What plugs it in on QEMU's command line.
    pub(crate) fn words(&self, slot: usize) -> [String; 4] {
        let device = format!("virtio-blk-pci,id={},drive={},serial={},bus=slot{slot}", self.device(), self.name, self.name);
        ["-blockdev".to_owned(), self.node().to_string(), "-device".to_owned(), device]
    }
}

/// The number that the pair writer put on a raw image; 0 where it has not been.
#[must_use]
pub fn pair_number(image: &Path) -> u64 {
    let sector = range(image, 0, 512);
    let digits: Vec<u8> = sector.into_iter().take_while(u8::is_ascii_digit).collect();
    String::from_utf8_lossy(&digits).parse().unwrap_or(0)
}

fn arg(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

fn qemu_img(args: &[&str]) {
    let output = Command::new("qemu-img").args(args).output().expect("qemu-img is installed (tests/run does it)");
    assert!(output.status.success(), "qemu-img {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
