use std::collections::HashMap;

use stillpoint_jobs::{AllJobs, Engine};
use stillpoint_model::{Error, ErrorKind, ItemName, JobId, PointId, Result};
use stillpoint_vault::{CollectNames, Collection, Vault, Waits};

/// Times the records are read again because another run replaced the newest meanwhile.
const LOOKS: u32 = 5;

/// A record whose condemned are not all settled.
pub(crate) struct Open {
    pub(crate) seq: u32,
    pub(crate) record: Collection,
    /// Whom it waits for; none when the run that wrote it died before it listed them.
    pub(crate) waits: Option<Waits>,
}

impl Open {
    /// Whether all jobs that might refer to what is condemned here have ended.
    pub(crate) fn is_mature(&self, jobs: &AllJobs) -> bool {
        self.waits.as_ref().is_some_and(|waits| waits.jobs.iter().all(|job| jobs.has_ended(*job)))
    }
}

/// What earlier runs condemned.
#[derive(Default)]
pub(crate) struct Records {
    pub(crate) names: CollectNames,
    /// Number of the newest record; 0 before the first.
    pub(crate) newest: u32,
    /// The job that wrote it.
    pub(crate) newest_by: Option<JobId>,
    pub(crate) open: Vec<Open>,
}

impl Records {
    pub(crate) async fn read(vault: &Vault) -> Result<Self> {
        for _ in 0..LOOKS {
            match Self::read_once(vault).await {
                // Another run settled a record and removed it; a newer one says what is open now.
                Err(error) if error.kind() == ErrorKind::Missing => {}
                other => return other,
            }
        }
        Err(Error::unavailable("the records of collect keep changing"))
    }

    async fn read_once(vault: &Vault) -> Result<Self> {
        let names = vault.collect_names().await?;
        let Some(newest) = names.records.last().copied() else { return Ok(Self { names, ..Self::default() }) };
        let record = vault.collection(newest).await?;
        let newest_by = Some(record.job);
        let mut open = Vec::new();
        for seq in &record.open {
            open.push((*seq, vault.collection(*seq).await?));
        }
        if !record.points.is_empty() || !record.objects.is_empty() {
            open.push((newest, record));
        }
        let mut records = Self { names, newest, newest_by, open: Vec::with_capacity(open.len()) };
        for (seq, record) in open {
            let waits = if records.names.waits.contains(&seq) { Some(vault.waits(seq).await?) } else { None };
            records.open.push(Open { seq, record, waits });
        }
        Ok(records)
    }

    /// Lists whom those records wait for whose run died before it did. A later list is as safe: whoever has ended since is seen by the
    /// fresh look that precedes every deletion.
    pub(crate) async fn complete(&mut self, engine: &Engine, own: JobId) -> Result<()> {
        for open in self.open.iter_mut().filter(|open| open.waits.is_none()) {
            wait_for_others(engine, open.seq, [own, open.record.job]).await?;
            open.waits = Some(engine.vault().waits(open.seq).await?);
        }
        Ok(())
    }

    /// Points that are condemned, and whether all jobs that might need them have ended.
    pub(crate) fn condemned_points(&self, jobs: &AllJobs) -> HashMap<(ItemName, PointId), bool> {
        let points = self.open.iter().flat_map(|open| {
            let mature = open.is_mature(jobs);
            open.record.points.iter().map(move |point| (point.clone(), mature))
        });
        points.collect()
    }
}

/// Lists all unfinished jobs, after record `seq` is there, and puts on record that it waits for them. Jobs of `collect` itself refer to
/// nothing.
pub(crate) async fn wait_for_others(engine: &Engine, seq: u32, collectors: [JobId; 2]) -> Result<()> {
    let jobs = engine.all_jobs().await?;
    let jobs = jobs.unfinished().filter(|job| !collectors.contains(job)).collect();
    engine.vault().create_waits(seq, &Waits { at: engine.vault().clock().now(), jobs }).await
}
