use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
};

use stillpoint_model::{ErrorKind::Conflict, Extent};

use super::{SIZE, inspect, open, parts::LoopDevice, read_all, refusal, snapshot, source};

#[tokio::test]
async fn a_device_is_read_whole_and_its_stillness_is_proven() {
    let device = LoopDevice::new(SIZE);
    File::options().write(true).open(&device.path).unwrap().write_all_at(&[5; 4096], 8192).unwrap();
    assert_eq!(inspect(&[source("os", &device.path)]).await.unwrap(), [SIZE]);
    let taken = snapshot(&[source("os", &device.path)]).await.unwrap();
    assert!(taken.warnings.is_empty(), "{:?}", taken.warnings);
    let os = &taken.disks[0];
    assert_eq!((os.size_bytes, &os.extents[..]), (SIZE, &[Extent::new(0, SIZE)][..]));
    let bytes = read_all(os).await;
    assert!(bytes[8192..12_288].iter().all(|byte| *byte == 5) && bytes[12_288..].iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn a_write_to_a_device_is_noticed_before_it_reaches_the_disk() {
    let device = LoopDevice::new(SIZE);
    let taken = snapshot(&[source("os", &device.path)]).await.unwrap();
    let reader = open(&taken.disks[0]).await.unwrap();
    reader.confirm().await.unwrap();
    // Into the page cache only; nothing syncs it but the reader.
    let writer = OpenOptions::new().write(true).open(&device.path).unwrap();
    writer.write_all_at(&[1; 512], 512).unwrap();
    let (kind, line) = refusal(reader.confirm().await);
    assert_eq!(kind, Conflict);
    assert!(line.contains("was written to while it was being backed up"), "{line}");
    assert_eq!(refusal(open(&taken.disks[0]).await).0, Conflict);
}

#[tokio::test]
async fn one_device_under_two_names_is_refused() {
    let device = LoopDevice::new(SIZE);
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("by-id");
    std::os::unix::fs::symlink(&device.path, &link).unwrap();
    let (_, line) = refusal(inspect(&[source("os", &device.path), source("data", &link)]).await);
    assert!(line.contains("the same as disk os"), "{line}");
}
