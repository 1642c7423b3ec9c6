use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
    process::{Command, Stdio},
};

/// Where the first partition of a [`partitioned`] disk begins, in bytes.
const FIRST_PARTITION: u64 = 1 << 20;

/// Runs a tool that makes disks, and returns what it prints.
pub fn tool(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").args(args);
    let output = command.output().unwrap_or_else(|error| panic!("{program} (tests/run installs it): {error}"));
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A disk with a partition table (`dos` or `gpt`) and these images as its partitions, one after the other, of whole MiB each.
pub fn partitioned(disk: &Path, table: &str, images: &[&Path]) {
    let mebibytes = |image: &&Path| fs::metadata(image).expect("an image exists").len().div_ceil(1 << 20);
    let sizes: Vec<u64> = images.iter().map(mebibytes).collect();
    File::create(disk).and_then(|file| file.set_len((sizes.iter().sum::<u64>() + 2) << 20)).expect("a disk can be made");
    let script: String = sizes.iter().map(|size| format!("size={size}MiB\n")).collect();
    let mut sfdisk = Command::new("sfdisk");
    sfdisk.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg("-q").arg(disk).stdin(Stdio::piped());
    let mut running = sfdisk.spawn().expect("sfdisk is installed (tests/run does it)");
    let mut input = running.stdin.take().expect("it reads its script");
    write!(input, "label: {table}\n{script}").expect("it takes its script");
    drop(input);
    assert!(running.wait().expect("it ends").success(), "sfdisk {}", disk.display());
    let mut file = OpenOptions::new().write(true).open(disk).expect("the disk opens");
    let mut at = FIRST_PARTITION;
    for (image, size) in images.iter().zip(sizes) {
        let mut piece = vec![0; 1 << 20];
        let mut from = File::open(image).expect("an image opens");
        for offset in (at..at + (size << 20)).step_by(1 << 20) {
            let length = from.read(&mut piece).expect("an image can be read");
            // Holes stay holes.
            if piece[..length].iter().any(|byte| *byte != 0) {
                file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(&piece[..length])).expect("it can be written");
            }
        }
        at += size << 20;
    }
}
