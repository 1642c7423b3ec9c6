//! Disk images: made of real files or of seeded bytes, changed like a guest would, compared byte for byte.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::Read,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
};

/// One mebibyte.
pub const MIB: u64 = 1024 * 1024;
/// Size of the image that [`ext4`] makes.
pub const EXT4_BYTES: u64 = 128 * MIB;
/// Real files put on it, in bytes.
const EXT4_FILES_BYTES: u64 = 64 * MIB;
/// Folders that a Debian machine has, in the order in which their files are taken.
const ROOTS: [&str; 5] = ["/usr/share/doc", "/usr/lib/python3", "/usr/include", "/usr/share", "/usr/lib"];
/// Counts up when what [`ext4`] makes changes, so that no older image in the cache is taken for it.
const EXT4_EDITION: u32 = 1;

/// `length` bytes that do not compress, the same for the same seed.
#[must_use]
pub fn noise(seed: u64, length: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length as usize + 8);
    while (bytes.len() as u64) < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(length as usize);
    bytes
}

/// A raw disk of `size` bytes with noise at these `(offset, length)` and holes elsewhere.
pub fn sparse(path: &Path, size: u64, seed: u64, data: &[(u64, u64)]) {
    let file = File::create(path).expect("an image can be made");
    file.set_len(size).expect("an image can be sized");
    for (index, (offset, length)) in data.iter().enumerate() {
        file.write_all_at(&noise(seed * 1000 + index as u64, *length), *offset).expect("an image can be written");
    }
}

/// A raw disk full of noise.
pub fn full(path: &Path, size: u64, seed: u64) {
    sparse(path, size, seed, &[(0, size)]);
}

/// Writes `bytes` at `offset`.
pub fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).expect("the image opens");
    file.write_all_at(bytes, offset).expect("an image can be written");
}

/// Makes a disk larger; the new end is a hole.
pub fn grow(path: &Path, size: u64) {
    let file = OpenOptions::new().write(true).open(path).expect("the image opens");
    file.set_len(size).expect("an image can be sized");
}

/// A copy with the same holes.
pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("--sparse=always").arg(from).arg(to).status();
    assert!(status.expect("cp runs").success(), "{} can be copied", from.display());
}

/// Bytes of one range.
#[must_use]
pub fn range(path: &Path, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    File::open(path).expect("the image opens").read_exact_at(&mut bytes, offset).expect("the range can be read");
    bytes
}

/// Bytes the file system has allocated for a file.
#[must_use]
pub fn allocated(path: &Path) -> u64 {
    fs::metadata(path).expect("the image exists").blocks() * 512
}

/// Names in a folder, sorted; none where there is no folder.
#[must_use]
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Whether files in this folder can share extents.
#[must_use]
pub fn reflinks(folder: &Path) -> bool {
    let (from, to) = (folder.join("reflink-from"), folder.join("reflink-to"));
    fs::write(&from, noise(1, 4096)).expect("a file can be written");
    let output = Command::new("cp").arg("--reflink=always").arg(&from).arg(&to).output().expect("cp runs");
    for path in [&from, &to] {
        drop(fs::remove_file(path));
    }
    output.status.success()
}

/// Asserts that two files hold the same bytes, and says where they part.
pub fn assert_same(expected: &Path, found: &Path) {
    let [mut left, mut right] =
        [expected, found].map(|path| File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    let sizes = [&left, &right].map(|file| file.metadata().expect("an open file has a size").len());
    assert_eq!(sizes[0], sizes[1], "sizes of {} and {}", expected.display(), found.display());
    let (mut ours, mut theirs) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    for offset in (0..sizes[0]).step_by(MIB as usize) {
        let length = MIB.min(sizes[0] - offset) as usize;
        left.read_exact(&mut ours[..length]).expect("the file can be read");
        right.read_exact(&mut theirs[..length]).expect("the file can be read");
        if ours[..length] != theirs[..length] {
            let at = (0..length).find(|at| ours[*at] != theirs[*at]).map_or(offset, |at| offset + at as u64);
            panic!("{} and {} part at byte {at}", expected.display(), found.display());
        }
    }
}

/// A real ext4 disk with real files of this machine, the same in every test of a run.
pub fn ext4(path: &Path) {
    let test = env::current_exe().expect("a test knows its own file");
    let folder = test.parent().expect("a test lies in the build folder").join("lab-images");
    let cached = folder.join(format!("ext4-{EXT4_EDITION}.raw"));
    if !cached.exists() {
        fs::create_dir_all(&folder).expect("a folder beside the binary can be made");
        make_ext4(&folder, &cached);
    }
    copy(&cached, path);
}

/// Changes an ext4 disk as a day of use would: one file new, one gone, one written again.
pub fn edit_ext4(path: &Path, seed: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let [page, log, script] = ["page", "log", "script"].map(|name| folder.path().join(name));
    fs::write(&page, noise(seed, MIB)).expect("a file can be written");
    fs::write(&log, format!("line of run {seed}\n").repeat(40_000)).expect("a file can be written");
    let commands = format!("rm /lab/app.log\nwrite {} /lab/app.log\nwrite {} /lab/new-{seed}\n", log.display(), page.display());
    fs::write(&script, commands).expect("a file can be written");
    debugfs(path, &["-w", "-f", script.to_str().expect("temporary paths are text")]);
    let listed = debugfs(path, &["-R", "ls -l /lab"]);
    assert!(listed.contains(&format!("new-{seed}")), "debugfs wrote the new file: {listed}");
}

fn debugfs(image: &Path, args: &[&str]) -> String {
    let mut command = Command::new("debugfs");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").args(args).arg(image);
    let output = command.output().expect("debugfs is installed (tests/run does it)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn make_ext4(folder: &Path, cached: &Path) {
    let staging = tempfile::tempdir_in(folder).expect("a temporary folder can be made");
    let (tree, image) = (staging.path().join("tree"), staging.path().join("image"));
    fs::create_dir_all(tree.join("lab")).expect("a folder can be made");
    fs::write(tree.join("lab/app.log"), "the first line\n".repeat(20_000)).expect("a file can be written");
    fs::write(tree.join("lab/pages.db"), noise(7, 4 * MIB)).expect("a file can be written");
    let mut left = EXT4_FILES_BYTES;
    for root in ROOTS {
        gather(Path::new(root), &tree, &mut left);
    }
    assert!(left < EXT4_FILES_BYTES / 2, "this machine has too few files under {ROOTS:?}");
    let mut command = Command::new("mke2fs");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("E2FSPROGS_FAKE_TIME", "1700000000");
    command.args(["-q", "-t", "ext4", "-U", "9e0b8e9f-45c0-4c7e-8a7e-5f1c3d2b1a00"]);
    command.args(["-E", "hash_seed=9e0b8e9f-45c0-4c7e-8a7e-5f1c3d2b1a01,lazy_itable_init=0", "-d"]);
    command.arg(&tree).arg(&image).arg(format!("{}m", EXT4_BYTES / MIB));
    let output = command.output().expect("mke2fs is installed (tests/run does it)");
    assert!(output.status.success(), "mke2fs: {}", String::from_utf8_lossy(&output.stderr));
    fs::rename(&image, cached).expect("the image can be put in place");
}

/// Copies regular files below `folder` into `tree`, in the order of their names, until `left` bytes are used up.
fn gather(folder: &Path, tree: &Path, left: &mut u64) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        if found.is_dir() {
            gather(&path, tree, left);
        } else if found.is_file() && (1..=2 * MIB).contains(&found.len()) && found.len() <= *left {
            let target = tree.join(path.strip_prefix("/").expect("the roots are absolute"));
            fs::create_dir_all(target.parent().expect("a file lies in a folder")).expect("a folder can be made");
            if !target.exists() && fs::copy(&path, &target).is_ok() {
                *left -= found.len();
            }
        }
    }
}

/// Whether a file holds `needle`.
#[must_use]
pub fn contains(path: &Path, needle: &[u8]) -> bool {
    fs::read(path).expect("the file can be read").windows(needle.len()).any(|window| window == needle)
}
