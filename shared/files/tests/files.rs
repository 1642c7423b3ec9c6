//! Real file systems, made by their own tools, read through the crate: what is there comes out, and what is damaged or made to harm
//! does no harm.

use std::{
    fs::{self, File},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use stillpoint_files::{
    Content, CopyOut, EntryKind, Source, TableKind, Volume, VolumePath, Window, guarded, identify, partitions, shown,
};
use stillpoint_model::{Error, ErrorKind, Result};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// An image on disk.
struct Image(File);

impl Source for Image {
    fn size_bytes(&self) -> u64 {
        self.0.metadata().expect("an open file has a size").len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.0.read_exact_at(buffer, offset).map_err(Error::from)
    }
}

fn source(path: &Path) -> Arc<dyn Source> {
    Arc::new(Image(File::open(path).expect("the image opens")))
}

fn window(path: &Path) -> Window {
    Window::new(source(path), 0, u64::MAX)
}

fn open(path: &Path) -> Result<Volume> {
    let window = window(path);
    Volume::open(identify(&window)?, &window)
}

fn path(text: &str) -> VolumePath {
    VolumePath::parse(text.as_bytes()).expect("a path")
}

fn run(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("MTOOLS_SKIP_CHECK", "1").args(args);
    let output = command.output().unwrap_or_else(|error| panic!("{program} (tests/run installs it): {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A folder as a guest would have it, without links.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("etc/deep/er")).expect("folders can be made");
    fs::write(root.join("etc/hostname"), "web-01\n").expect("a file can be written");
    fs::write(root.join("etc/deep/er/empty"), "").expect("a file can be written");
    fs::write(root.join("etc/deep/Grüße 2026.txt"), noise(1, 70_000)).expect("a file can be written");
    fs::write(root.join("large.bin"), noise(2, 3_000_001)).expect("a file can be written");
    for number in 0..150 {
        fs::write(root.join(format!("etc/deep/file-with-a-long-name-{number}.conf")), format!("{number}\n")).expect("written");
    }
}

/// An image of this size made by mke2fs from a folder.
fn ext(lab: &Path, kind: &str, options: &[&str], root: &Path) -> PathBuf {
    let image = lab.join(format!("{kind}.img"));
    File::create(&image).and_then(|file| file.set_len(24 * MIB)).expect("an image can be made");
    run("mke2fs", &[&["-q", "-F", "-t", kind, "-d", text(root)], options, &[text(&image)]].concat());
    image
}

fn fat(lab: &Path, bits: &str, size: u64, root: &Path) -> PathBuf {
    let image = lab.join(format!("fat{bits}.img"));
    File::create(&image).and_then(|file| file.set_len(size)).expect("an image can be made");
    run("mkfs.vfat", &["-F", bits, text(&image)]);
    for entry in fs::read_dir(root).expect("a folder can be listed") {
        let entry = entry.expect("an entry can be read").path();
        run("mcopy", &["-s", "-i", text(&image), text(&entry), "::/"]);
    }
    image
}

fn ntfs(lab: &Path, root: &Path) -> PathBuf {
    let image = lab.join("ntfs.img");
    File::create(&image).and_then(|file| file.set_len(24 * MIB)).expect("an image can be made");
    run("mkntfs", &["-F", "-Q", "-q", text(&image)]);
    for name in ["etc/hostname", "large.bin", "etc/deep/Grüße 2026.txt"] {
        // It copies into the root only.
        run(
            "ntfscp",
            &[
                "-f",
                text(&image),
                text(&root.join(name)),
                Path::new(name).file_name().and_then(|name| name.to_str()).expect("a name"),
            ],
        );
    }
    image
}

fn copied(volume: &Volume, from: &str, to: &Path) -> Result<stillpoint_files::Copied> {
    CopyOut::of(volume, 24 * MIB).run(&path(from), to, true, false)
}

fn assert_same_tree(one: &Path, other: &Path) {
    run("diff", &["-r", "--no-dereference", text(one), text(other)]);
}

fn kind_of(error: Result<impl Sized>) -> Option<ErrorKind> {
    error.err().map(|error| error.kind())
}

#[test]
fn what_ext_file_systems_hold_comes_out() {
    let lab = TempDir::new().expect("a folder");
    let root = lab.path().join("root");
    tree(&root);
    symlink("etc/hostname", root.join("relative")).expect("a link");
    symlink("/etc/deep", root.join("absolute")).expect("a link");
    symlink("x".repeat(200), root.join("dangling")).expect("a link");
    for (kind, options) in
        [("ext2", vec![]), ("ext3", vec![]), ("ext4", vec![]), ("ext4", vec!["-b", "1024", "-O", "^metadata_csum,^64bit"])]
    {
        let image = ext(lab.path(), kind, &options, &root);
        assert_eq!(identify(&window(&image)).expect("it is known"), Content::Ext(kind));
        let volume = open(&image).expect("it opens");
        let names: Vec<String> = volume.list(&path("/")).expect("a list").iter().map(|entry| shown(&entry.name)).collect();
        assert_eq!(names, ["absolute", "dangling", "etc", "large.bin", "lost+found", "relative"]);
        assert_eq!(volume.list(&path("/absolute/er/")).expect("links are followed").len(), 1);
        let hostname = volume.entry(&path("/relative")).expect("links are followed");
        assert_eq!((hostname.kind, hostname.size_bytes), (EntryKind::File, 7));
        let changed = fs::metadata(root.join("etc/hostname")).and_then(|file| file.modified()).expect("a time");
        let changed = jiff::Timestamp::try_from(changed).expect("a time");
        assert_eq!(hostname.modified.map(|at| at.to_string()), Some(format!("{changed:.0}")));
        assert_eq!(kind_of(volume.entry(&path("/etc/no"))), Some(ErrorKind::Missing));
        assert_eq!(kind_of(volume.entry(&path("/dangling"))), Some(ErrorKind::Missing));
        assert_eq!(kind_of(volume.list(&path("/etc/hostname"))), Some(ErrorKind::Invalid));
        assert!(kind_of(volume.entry(&path("/etc/hostname/x"))).is_some());

        let to = lab.path().join("out");
        let done = copied(&volume, "/", &to).expect("all of it can be copied");
        assert_eq!((done.files, done.links, done.warnings.len()), (154, 3, 0));
        fs::remove_dir(to.join("lost+found")).expect("it is empty");
        assert_same_tree(&root, &to);
        fs::remove_dir_all(to).expect("it can be removed");
    }
}

#[test]
fn what_fat_file_systems_hold_comes_out() {
    let lab = TempDir::new().expect("a folder");
    let root = lab.path().join("root");
    tree(&root);
    for (bits, size) in [("12", 6 * MIB), ("16", 24 * MIB), ("32", 64 * MIB)] {
        let image = fat(lab.path(), bits, size, &root);
        assert_eq!(identify(&window(&image)).expect("it is known"), Content::Fat);
        assert_eq!(partitions(&source(&image)).expect("a table").kind, TableKind::None, "its first record is no table");
        let volume = open(&image).expect("it opens");
        assert_eq!(volume.entry(&path("/ETC/HostName")).expect("letters are alike").size_bytes, 7);
        assert_eq!(kind_of(volume.entry(&path("/etc/no"))), Some(ErrorKind::Missing));
        let to = lab.path().join("out");
        let done = copied(&volume, "/", &to).expect("all of it can be copied");
        assert_eq!((done.files, done.warnings.len()), (154, 0));
        assert_same_tree(&root, &to);
        fs::remove_dir_all(to).expect("it can be removed");
    }
}

#[test]
fn what_ntfs_holds_comes_out() {
    let lab = TempDir::new().expect("a folder");
    let root = lab.path().join("root");
    tree(&root);
    let image = ntfs(lab.path(), &root);
    assert_eq!(identify(&window(&image)).expect("it is known"), Content::Ntfs);
    let volume = open(&image).expect("it opens");
    let entries = volume.list(&path("/")).expect("a list");
    let listed =
        |name: &str| entries.iter().find(|entry| entry.name == name.as_bytes()).map(|entry| (entry.kind, entry.size_bytes));
    assert_eq!(listed("large.bin"), Some((EntryKind::File, 3_000_001)));
    assert_eq!(listed("$Extend").map(|(kind, _)| kind), Some(EntryKind::Folder));
    for (name, from) in [("LARGE.bin", "large.bin"), ("hostname", "etc/hostname"), ("Grüße 2026.txt", "etc/deep/Grüße 2026.txt")]
    {
        let to = lab.path().join("out");
        CopyOut::of(&volume, 24 * MIB).run(&path(name), &to, false, true).expect("a file can be copied");
        assert!(fs::read(&to).expect("it is there") == fs::read(root.join(from)).expect("it was there"), "{name}");
    }
    assert_eq!(kind_of(volume.entry(&path("/no"))), Some(ErrorKind::Missing));
    assert_eq!(kind_of(volume.list(&path("/large.bin"))), Some(ErrorKind::Invalid));
}

/// The journal holds another content of a block than its place: a reader that does not apply it sees the old one.
#[test]
fn a_journal_that_was_not_replayed_counts() {
    let lab = TempDir::new().expect("a folder");
    let root = lab.path().join("root");
    fs::create_dir(&root).expect("a folder");
    fs::write(root.join("state"), "old".repeat(1000)).expect("a file");
    let image = ext(lab.path(), "ext4", &["-b", "4096"], &root);
    let block = run("debugfs", &["-R", "blocks /state", text(&image)]);
    let mut new = "new".repeat(1000).into_bytes();
    new.resize(4096, 0);
    fs::write(lab.path().join("block"), new).expect("a file");
    let script = lab.path().join("script");
    fs::write(&script, format!("jo -c\njw -b {} {}\njc\n", block.trim(), text(&lab.path().join("block")))).expect("a file");
    run("debugfs", &["-w", "-f", text(&script), text(&image)]);
    assert!(run("dumpe2fs", &["-h", text(&image)]).contains("needs_recovery"));
    let volume = open(&image).expect("it opens");
    let to = lab.path().join("out");
    CopyOut::of(&volume, 24 * MIB).run(&path("/state"), &to, false, false).expect("it can be copied");
    assert_eq!(fs::read_to_string(to).expect("it is there"), "new".repeat(1000));
}

#[test]
fn partitions_are_those_that_sfdisk_made() {
    let lab = TempDir::new().expect("a folder");
    let image = lab.path().join("disk.img");
    let mbr = "label: dos\nstart=2048, size=8192, type=c\nstart=10240, size=8192, type=83\nstart=20480, size=90000, type=5\n\
               start=22528, size=8192, type=83\nstart=32768, size=8192, type=82\nstart=43008, size=30000, type=8e\n";
    let gpt = "label: gpt\nstart=2048, size=8192, name=boot\nstart=10240, size=20000, name=\"Grüße\"\nstart=40960, size=50000\n";
    for (script, kind) in [(mbr, TableKind::Mbr), (gpt, TableKind::Gpt)] {
        File::create(&image).and_then(|file| file.set_len(64 * MIB)).expect("an image can be made");
        let file = lab.path().join("script");
        fs::write(&file, script).expect("a file");
        run("sh", &["-c", &format!("sfdisk -q {} < {}", text(&image), text(&file))]);
        let wanted: Vec<(u64, u64)> = script
            .lines()
            .filter(|line| line.starts_with("start=") && !line.contains("type=5"))
            .map(|line| {
                let number =
                    |part: usize| line.split(", ").nth(part).and_then(|part| part.split('=').nth(1)).and_then(|n| n.parse().ok());
                (number(0).expect("a start"), number(1).expect("a size"))
            })
            .collect();
        let assert_found = |what: &str| {
            let table = partitions(&source(&image)).expect("a table");
            assert_eq!(table.kind, kind, "{what}");
            let found: Vec<(u64, u64)> = table.partitions.iter().map(|one| (one.offset / 512, one.length / 512)).collect();
            assert_eq!(found, wanted, "{what}");
            table
        };
        let table = assert_found("as it was made");
        let numbers: Vec<u32> = table.partitions.iter().map(|one| one.number).collect();
        if kind == TableKind::Mbr {
            assert_eq!(numbers, [1, 2, 5, 6, 7]);
        } else {
            assert_eq!(table.partitions[1].label, "Grüße");
            let disk = File::options().write(true).open(&image).expect("the image opens");
            disk.write_all_at(&[0; 512], 512).expect("it can be written");
            assert_found("by its second copy");
        }
    }
}

#[test]
fn what_is_not_read_is_known_by_name() {
    let lab = TempDir::new().expect("a folder");
    let image = lab.path().join("disk.img");
    let fresh = || File::create(&image).and_then(|file| file.set_len(320 * MIB)).expect("an image can be made");
    fresh();
    assert_eq!(identify(&window(&image)).expect("known"), Content::Empty);
    for (program, args, name) in
        [("mkswap", vec!["-q"], "swap"), ("mkfs.xfs", vec!["-q", "-f"], "XFS"), ("mkfs.btrfs", vec!["-q", "-f"], "btrfs")]
    {
        fresh();
        run(program, &[args, vec![text(&image)]].concat());
        assert_eq!(identify(&window(&image)).expect("known"), Content::Other(name));
        let error = open(&image).err().expect("refused");
        assert!(error.kind() == ErrorKind::Invalid && error.one_line().contains(name), "{error}");
    }
}

/// Files in a folder, whatever their depth.
fn names_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder can be listed").map(|entry| entry.expect("an entry").path());
    let mut all = Vec::new();
    for path in entries {
        if path.is_dir() && !path.is_symlink() {
            all.extend(names_below(&path));
        }
        all.push(path);
    }
    all
}

#[test]
fn nothing_gets_out_of_the_folder_that_is_copied_to() {
    let lab = TempDir::new().expect("a folder");
    let root = lab.path().join("root");
    fs::create_dir_all(root.join("folder")).expect("a folder");
    let outside = lab.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    symlink(&outside, root.join("folder/a-link")).expect("a link");
    fs::write(root.join("folder/b-linkXescaped"), "harm").expect("a file");
    fs::write(root.join("folder/..Xescaped"), "harm").expect("a file");
    fs::write(root.join("folder/fine"), "fine").expect("a file");
    // What stands for a slash becomes one.
    for image in [ext(lab.path(), "ext4", &["-O", "^metadata_csum"], &root), fat_of(lab.path(), &root)] {
        let mut bytes = fs::read(&image).expect("an image");
        for (from, to) in [("kXes", "k/es"), ("..Xe", "../e")] {
            for wide in [false, true] {
                let encoded =
                    |text: &str| text.bytes().flat_map(|byte| if wide { vec![byte, 0] } else { vec![byte] }).collect::<Vec<u8>>();
                replace(&mut bytes, &encoded(from), &encoded(to));
            }
        }
        fs::write(&image, bytes).expect("an image can be written");
        let to = lab.path().join("out");
        let done = guarded(|| copied(&open(&image)?, "/folder", &to));
        let names = names_below(lab.path());
        assert!(!names.iter().any(|path| path.ends_with("escaped")), "{names:?}");
        assert!(fs::read_dir(&outside).expect("a folder").next().is_none());
        if let Ok(done) = done {
            assert!(!done.warnings.is_empty(), "what is left out is said: {done:?}");
            assert_eq!(fs::read_to_string(to.join("fine")).expect("it came out"), "fine");
            fs::remove_dir_all(&to).expect("it can be removed");
        }
        assert!(!names_below(lab.path()).iter().any(|path| text(path).contains("partial")), "nothing half is left");
    }
}

fn fat_of(lab: &Path, root: &Path) -> PathBuf {
    // FAT has no links.
    fs::remove_file(root.join("folder/a-link")).expect("the link can be removed");
    fat(lab, "16", 24 * MIB, root)
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let places: Vec<usize> = bytes.windows(from.len()).enumerate().filter(|(_, part)| *part == from).map(|(at, _)| at).collect();
    places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
}

#[test]
fn what_is_there_is_replaced_only_when_asked() {
    let lab = TempDir::new().expect("a folder");
    let root = lab.path().join("root");
    tree(&root);
    let volume = open(&ext(lab.path(), "ext4", &[], &root)).expect("it opens");
    let copy =
        |from: &str, to: &Path, recursive, overwrite| CopyOut::of(&volume, 24 * MIB).run(&path(from), to, recursive, overwrite);
    let to = lab.path().join("out");
    fs::write(&to, "mine").expect("a file");
    assert_eq!(kind_of(copy("/etc/hostname", &to, false, false)), Some(ErrorKind::Conflict));
    assert_eq!(kind_of(copy("/etc", &to, true, true)), Some(ErrorKind::Conflict));
    assert_eq!(kind_of(copy("/etc", &lab.path().join("new"), false, false)), Some(ErrorKind::Invalid));
    assert_eq!(fs::read_to_string(&to).expect("it is there"), "mine");
    copy("/etc/hostname", &to, false, true).expect("it is replaced");
    assert_eq!(fs::read_to_string(&to).expect("it is there"), "web-01\n");
    assert_eq!(kind_of(copy("/etc/hostname", &lab.path().join("no/such"), false, false)), Some(ErrorKind::Missing));
    let names: Vec<PathBuf> = fs::read_dir(lab.path()).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    assert!(!names.iter().any(|path| path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."))), "{names:?}");
}

/// Damage at random places of what describes the file system: it ends, with an error or with files, and never with a panic.
#[test]
fn whatever_is_damaged_ends_with_an_error_or_with_files() {
    let lab = TempDir::new().expect("a folder");
    let root = lab.path().join("root");
    fs::create_dir_all(root.join("etc/deep")).expect("folders can be made");
    for (name, length) in [("etc/hostname", 7), ("etc/deep/Grüße 2026.txt", 70_000), ("large.bin", 700_000)] {
        fs::write(root.join(name), noise(length, length as usize)).expect("a file can be written");
    }
    let plain = ["-O", "^metadata_csum", "-b", "1024"];
    let images = [
        ext(lab.path(), "ext4", &plain, &root),
        ext(lab.path(), "ext2", &plain, &root),
        fat(lab.path(), "16", 24 * MIB, &root),
        ntfs(lab.path(), &root),
    ];
    for image in images {
        let whole = fs::read(&image).expect("an image");
        // Where something is written, in sectors; file contents, the most of it, are met rarely enough.
        let used: Vec<usize> = (0..whole.len() / 512)
            .filter(|sector| whole[sector * 512..sector * 512 + 512].iter().any(|byte| *byte != 0))
            .collect();
        let (mut failed, mut state) = (0, 7_u64);
        let mut next = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        for round in 0..60 {
            let mut bytes = whole.clone();
            for _ in 0..1 + round % 8 * 4 {
                // The first sectors describe the most.
                let sector = used[next(if round % 2 == 0 { 40 } else { used.len() })];
                let at = sector * 512 + next(512 - 8);
                let with = [0, 0xff, 0x7f, 0x80, 1][next(5)];
                bytes[at..at + 1 + next(8)].fill(with);
            }
            let damaged = lab.path().join("damaged.img");
            fs::write(&damaged, bytes).expect("an image can be written");
            let to = lab.path().join("out");
            let done = guarded(|| copied(&open(&damaged)?, "/", &to));
            failed += usize::from(done.is_err());
            if to.exists() {
                fs::remove_dir_all(&to).expect("it can be removed");
            }
        }
        assert!(failed > 0, "no damage to {} was met", image.display());
    }
}
