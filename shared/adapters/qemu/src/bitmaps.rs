//! Which bitmap tells what changed since a snapshot, and why none does.

use stillpoint_model::Result;
use stillpoint_ports::{Ending, Since};

use crate::{
    machine::{BitmapInfo, MachineDisk},
    names::Bitmap,
};

/// The bitmap that has recorded every change of a disk since `since`.
///
/// # Errors
/// The reason, in one line, why there is none.
pub(crate) fn since(disk: &MachineDisk, since: Since) -> Result<Bitmap, String> {
    let of_snapshot = |info: &&BitmapInfo| matches!(info.ours(), Some(Bitmap::Since { job, instant, .. }) if job == since.job && instant == since.instant);
    let Some(info) = disk.bitmaps.iter().find(of_snapshot) else {
        return Err(match disk.keeps_bitmaps() {
            true => "the disk has no bitmap of the last point: it was replaced, or QEMU ended without saving it".to_owned(),
            false => {
                format!("the disk has no bitmap of the last point: one of format {} keeps none across power cycles", disk.format)
            }
        });
    };
    if info.inconsistent {
        return Err("its bitmap was not saved: QEMU crashed or was killed".to_owned());
    }
    if !info.recording {
        return Err("its bitmap was stopped by somebody".to_owned());
    }
    match info.ours() {
        Some(Bitmap::Since { size_bytes, .. }) if size_bytes != disk.size_bytes => {
            Err(format!("the disk was resized from {size_bytes} to {} bytes", disk.size_bytes))
        }
        Some(Bitmap::Since { disk: name, .. }) if name != disk.name => {
            Err(format!("what lies here was disk {name} at the last point"))
        }
        Some(bitmap) => Ok(bitmap),
        None => Err("its bitmap is not of this program".to_owned()),
    }
}

/// Whether a bitmap is of no use any more when the snapshot of `job` is given back.
pub(crate) fn is_over(bitmap: &Bitmap, job: stillpoint_model::JobId, ending: Ending) -> bool {
    match bitmap {
        Bitmap::Held { job: holder, .. } => *holder == job,
        Bitmap::Since { job: begun, .. } => match ending {
            Ending::Abandoned => *begun == job,
            Ending::Committed => *begun != job,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stillpoint_model::JobId;
    use ulid::Ulid;

    use super::*;

    fn job(number: u128) -> JobId {
        JobId::new(Ulid::from_parts(1, number))
    }

    fn bitmap(number: u128, disk: &str, size_bytes: u64) -> Bitmap {
        let instant = "2026-01-02T03:04:05.5Z".parse().unwrap();
        Bitmap::Since { job: job(number), instant, size_bytes, disk: disk.parse().unwrap() }
    }

    fn disk(bitmaps: serde_json::Value) -> MachineDisk {
        let bitmaps = serde_json::from_value(bitmaps).unwrap();
        let (name, node, format, file) = ("os".parse().unwrap(), "a".to_owned(), "qcow2".to_owned(), "/d/a".into());
        MachineDisk { name, node, device: None, size_bytes: 1024, format, file, bitmaps }
    }

    #[test]
    fn only_an_unbroken_bitmap_of_the_same_disk_is_believed() {
        let of = Since { job: job(1), instant: "2026-01-02T03:04:05.5Z".parse().unwrap() };
        let good = bitmap(1, "os", 1024);
        let one = |bitmap: &Bitmap, fields: serde_json::Value| {
            let mut all = json!({ "name": bitmap.to_string(), "recording": true });
            all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            disk(json!([{ "recording": true }, { "name": "backup-1" }, all]))
        };
        assert_eq!(since(&one(&good, json!({})), of), Ok(good.clone()));
        let refused = [
            (one(&bitmap(2, "os", 1024), json!({})), "no bitmap of the last point"),
            (one(&good, json!({ "inconsistent": true })), "crashed"),
            (one(&good, json!({ "recording": false })), "stopped by somebody"),
            (one(&bitmap(1, "os", 512), json!({})), "resized from 512 to 1024"),
            (one(&bitmap(1, "data", 1024), json!({})), "was disk data"),
        ];
        for (disk, reason) in refused {
            let found = since(&disk, of).unwrap_err();
            assert!(found.contains(reason), "{found}");
        }
        let later = Since { instant: "2026-01-02T03:04:06Z".parse().unwrap(), ..of };
        assert!(since(&one(&good, json!({})), later).is_err(), "a snapshot that the same job took anew is another");
    }

    #[test]
    fn a_bitmap_stays_for_as_long_as_its_point_may_be_a_parent() {
        let (own, parent, held) = (bitmap(2, "os", 1024), bitmap(1, "os", 1024), Bitmap::Held { job: job(2), position: 0 });
        let over = |ending| [&own, &parent, &held].map(|bitmap| is_over(bitmap, job(2), ending));
        assert_eq!(over(Ending::Committed), [false, true, true]);
        assert_eq!(over(Ending::Abandoned), [true, false, true]);
    }
}
