//! What changed, from the dirty bitmaps of QEMU.

use bytes::Bytes;
use stillpoint_nbd::{Client, Options, Run};

use crate::{
    client::nbdinfo_map,
    servers::{Lab, run, storage_daemon},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_persistent_bitmap_tells_what_was_written_over_nbd() {
    let lab = Lab::new();
    let disk = lab.arg("disk");
    run("qemu-img", &["create", "-q", "-f", "qcow2", &disk, "64M"]);
    run("qemu-img", &["bitmap", "--add", "-g", "64k", &disk, "point-1"]);
    let node = format!("driver=qcow2,node-name=disk,file.driver=file,file.filename={disk}");
    let export = "type=nbd,id=e,node-name=disk,name=os,writable=on,bitmaps.0=point-1,allocation-depth=on";
    let bitmap = "qemu:dirty-bitmap:point-1";
    let contexts = ["base:allocation", bitmap, "qemu:allocation-depth", "qemu:dirty-bitmap:point-2"];

    let writable = storage_daemon(&lab, "w", &["--blockdev", &node, "--export", &export.replace(",bitmaps.0=point-1", "")]);
    let client = Client::connect(&lab.socket("w"), "os", &[], &Options::default()).await.expect("it connects");
    client.write((5 << 20) + 100, Bytes::from(vec![1; 10])).await.expect("it writes");
    client.write(9 << 20, Bytes::from(vec![1; 65_537])).await.expect("it writes");
    client.flush().await.expect("it flushes");
    client.close().await;
    writable.end_well();

    let export = export.replace(",writable=on", "");
    let _server = storage_daemon(&lab, "r", &["--blockdev", &format!("{node},read-only=on"), "--export", &export]);
    let client = Client::connect(&lab.socket("r"), "os", &contexts, &Options::default()).await.expect("it connects");
    let granted: Vec<bool> = contexts.iter().map(|name| client.has_context(name)).collect();
    assert_eq!(granted, [true, true, true, false]);
    let dirty = client.map(bitmap, 0, client.size_bytes()).await.expect("it tells");
    let unit = 65_536;
    let expected = [(80 * unit, 0), (unit, 1), (63 * unit, 0), (2 * unit, 1), (878 * unit, 0)];
    assert_eq!(dirty, expected.map(|(length, flags)| Run::new(length, flags)));
    let told: Vec<(u64, u64)> = dirty.iter().map(|run| (run.length, u64::from(run.flags))).collect();
    assert_eq!(told, nbdinfo_map(&lab, "os", "r", bitmap));
    client.close().await;
}
