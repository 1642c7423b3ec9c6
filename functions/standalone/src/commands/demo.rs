//! `stillpoint demo`: the whole story on a real disk image.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::{Value, json};
use stillpoint_jobs::Job;
use stillpoint_model::{Consistency, Error, ItemName, Result};
use stillpoint_runtime::host_name;
use stillpoint_vault::Item;

use super::{backup, duration_ms, image, outcome_of, restore, vault};
use crate::{
    args::{Format, Global},
    disks, output,
    session::Session,
};

const MACHINE: &str = "demo";

/// The demo's folder; goes with everything in it, however the demo ends.
struct Work(PathBuf);

impl Work {
    fn make() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("stillpoint-demo-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| Error::from(error).context(format!("cannot make {}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

struct Row {
    what: &'static str,
    read: Option<u64>,
    changed: Option<u64>,
    stored: Option<u64>,
    written: Option<u64>,
    duration_ms: u64,
}

impl Row {
    fn backup(what: &'static str, job: &Job) -> Result<Self> {
        let outcome = outcome_of(job)?;
        Ok(Self {
            what,
            read: Some(outcome.read_bytes),
            changed: Some(outcome.changed_bytes),
            stored: Some(outcome.stored_bytes),
            written: None,
            duration_ms: duration_ms(job),
        })
    }

    fn restore(what: &'static str, job: &Job) -> Result<Self> {
        let written = outcome_of(job)?.disks.iter().filter_map(|disk| disk.written_bytes).sum();
        Ok(Self { what, read: None, changed: None, stored: None, written: Some(written), duration_ms: duration_ms(job) })
    }

    fn rate(&self) -> u64 {
        self.read.or(self.written).unwrap_or(0) * 1000 / self.duration_ms.max(1)
    }

    fn cells(&self) -> Vec<String> {
        let bytes = |bytes: Option<u64>| bytes.map(output::bytes).unwrap_or_default();
        let time = format!("{:.2} s", self.duration_ms as f64 / 1000.0);
        let rate = format!("{}/s", output::bytes(self.rate()));
        vec![self.what.to_owned(), bytes(self.read), bytes(self.changed), bytes(self.stored), bytes(self.written), time, rate]
    }

    fn document(&self) -> Value {
        json!({
            "step": self.what,
            "read_bytes": self.read,
            "changed_bytes": self.changed,
            "stored_bytes": self.stored,
            "written_bytes": self.written,
            "duration_ms": self.duration_ms,
            "bytes_per_second": self.rate(),
        })
    }
}

pub async fn run(global: Global, given: Option<PathBuf>) -> Result<ExitCode> {
    let work = Work::make()?;
    let say = |line: &str| {
        if !global.json {
            output::line(line)
        }
    };
    let first = match given {
        Some(image) => PathBuf::from(disks::location(&image)?),
        None => {
            let image = work.0.join("image.raw");
            say("making an ext4 image from files of this machine ...");
            image::make(&work.0, &image)?;
            image
        }
    };
    // Its vault is a new one, never the one that this machine works with; everything runs in this process.
    let named = global.vault.filter(|vault| std::env::var("STILLPOINT_VAULT").as_ref() != Ok(vault));
    let stays = named.is_some();
    let global = Global {
        vault: named.or_else(|| Some(format!("file://{}", work.0.join("vault").display()))),
        key_file: Some(work.0.join("key")),
        kms: None,
        broker: None,
        ..global
    };
    let made = vault::create(&global, Some(&work.0.join("recovery-key")), true).await;
    made.map_err(|error| error.context("the demo makes a vault of its own; name an empty place with --vault, or none"))?;
    let session = Session::open(global.clone()).await?;
    say(&format!("backing up {} ...", first.display()));
    let one = point_of(&session, &first, false).await?;
    say("changing a copy, backing it up ...");
    let second = work.0.join("changed.raw");
    image::change_copy(&first, &second)?;
    let two = point_of(&session, &second, true).await?;
    let mut rows = vec![Row::backup("first backup", &one)?, Row::backup("second backup", &two)?];
    for (what, job, source) in [("first restored", &one, &first), ("second restored", &two, &second)] {
        say(&format!("restoring the {} point ...", what.trim_end_matches(" restored")));
        rows.push(restored(&session, &work.0.join("restored"), what, job, source).await?);
    }
    if global.json {
        output::json(&json!({ "steps": rows.iter().map(Row::document).collect::<Vec<Value>>(), "identical": true }))?;
    } else {
        output::line("");
        output::table(&["", ">READ", ">CHANGED", ">STORED", ">WRITTEN", ">TIME", ">RATE"], rows.iter().map(Row::cells).collect());
        output::line("\nboth points restored byte for byte (BLAKE3 of image and restored disk are equal)");
        if stays {
            let url = session.vault.store().url();
            output::line(&format!("the demo's vault stays at {url}; its key is gone with the demo, so delete it"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn point_of(session: &Session, disk: &Path, replace: bool) -> Result<Job> {
    let name: ItemName = MACHINE.parse()?;
    let disks = disks::sources(&[("os".parse()?, disk.to_path_buf())])?;
    let item = Item::new(name.clone(), "image", &host_name(), disks, jiff::Timestamp::now());
    session.platforms.get(&item.platform)?.inspect(&item.source()).await?;
    session.vault.write_item(&item, replace).await?;
    let wanted = backup::Wanted { consistency: Consistency::Crash, keep: jiff::Span::new().days(1), instant_restore_seconds: 0 };
    let jobs = backup::backup(session, &[name], wanted).await?;
    jobs.into_iter().next().ok_or_else(|| Error::internal("a job has no result"))
}

/// Restores a job's point, compares it with its source and removes it.
async fn restored(session: &Session, folder: &Path, what: &'static str, job: &Job, source: &Path) -> Result<Row> {
    let point = outcome_of(job)?.point.ok_or_else(|| Error::internal("a backup has no point"))?;
    let wanted = restore::Wanted {
        name: MACHINE.parse()?,
        point: point.to_string(),
        places: restore::Places::Folder(folder.to_path_buf(), Format::Raw),
        limits: None,
        overwrite: false,
    };
    let row = Row::restore(what, &restore::restore(session, wanted).await?)?;
    let target = folder.join("os.raw");
    if hash(source)? != hash(&target)? {
        return Err(Error::corrupt(format!("the restored disk differs from {}", source.display())));
    }
    std::fs::remove_file(&target)?;
    Ok(row)
}

fn hash(path: &Path) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?).map_err(|error| Error::from(error).context(path.display()))?;
    Ok(hasher.finalize())
}
