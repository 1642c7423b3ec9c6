//! Images for the demo: one made from files of this machine, and a day's changes to a copy.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
};

use stillpoint_model::{Error, Result};

/// Files that a demo image is filled from, as far as they exist.
const SOURCES: [&str; 4] = ["/usr/lib/x86_64-linux-gnu", "/usr/share/doc", "/usr/lib/python3", "/usr/bin"];
/// Bytes of files in a demo image, about.
const CONTENT_BYTES: u64 = 300 << 20;
/// Size of a demo image.
const IMAGE_BYTES: u64 = 1 << 30;
/// A database page: the unit in which the copy is changed.
const CHANGE_BYTES: usize = 8 << 10;
/// One change per this many bytes of data.
const CHANGE_EVERY_BYTES: u64 = 2 << 20;

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| Error::missing(format!("the demo needs the program {program}")).with_source(error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::internal(format!("{program} failed: {}", said.lines().last().unwrap_or("it said nothing"))))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::invalid(format!("path {} is not UTF-8", path.display())))
}

/// Makes an ext4 image of 1 GiB with a few hundred MiB of this machine's files.
pub fn make(work: &Path, image: &Path) -> Result<()> {
    let root = work.join("files");
    let mut left = CONTENT_BYTES;
    for source in SOURCES.iter().map(Path::new).filter(|source| source.is_dir()) {
        left = copy_tree(source, &root.join(source.strip_prefix("/").unwrap_or(source)), left)?;
    }
    if left == CONTENT_BYTES {
        return Err(Error::missing("this machine has no files to make a demo image from; give one: `stillpoint demo IMAGE`"));
    }
    File::create(image)?.set_len(IMAGE_BYTES)?;
    let made = run("mke2fs", &["-q", "-t", "ext4", "-F", "-d", text(&root)?, text(image)?]);
    fs::remove_dir_all(&root)?;
    made.map_err(|error| {
        error.context("cannot make an image (mke2fs is in the package e2fsprogs); or give one: `stillpoint demo IMAGE`")
    })
}

/// Copies regular files until `left` is used up; returns what is left.
fn copy_tree(from: &Path, to: &Path, mut left: u64) -> Result<u64> {
    fs::create_dir_all(to)?;
    let mut entries: Vec<_> = fs::read_dir(from)?.filter_map(std::result::Result::ok).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Ok(meta) = entry.metadata() else { continue };
        let target = to.join(entry.file_name());
        if meta.is_dir() {
            left = copy_tree(&entry.path(), &target, left)?;
        } else if meta.is_file() && meta.len() <= left && fs::copy(entry.path(), &target).is_ok() {
            // What this user may not read is left out.
            left -= meta.len();
        }
    }
    Ok(left)
}

/// Copies an image with its holes, and overwrites 8 KiB here and there where it holds data.
pub fn change_copy(image: &Path, copy: &Path) -> Result<()> {
    run("cp", &["--sparse=always", "--reflink=auto", text(image)?, text(copy)?])?;
    // The image may be read-only for everybody; the copy is ours.
    let file = OpenOptions::new().read(true).write(true).open(copy)?;
    let size = file.metadata()?.len();
    let mut block = vec![0; CHANGE_BYTES];
    for (number, offset) in (0..size.saturating_sub(CHANGE_BYTES as u64)).step_by(CHANGE_EVERY_BYTES as usize).enumerate() {
        file.read_exact_at(&mut block, offset)?;
        if block.iter().any(|byte| *byte != 0) {
            block
                .iter_mut()
                .zip((number as u64 + 1).to_le_bytes().into_iter().cycle())
                .for_each(|(byte, add)| *byte = byte.wrapping_add(add));
            file.write_all_at(&block, offset)?;
        }
    }
    file.sync_all()?;
    Ok(())
}
