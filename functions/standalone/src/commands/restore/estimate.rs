//! What a restore will take, before it is begun. Both sides are measured, and nothing that is written stays.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use stillpoint_format::limits;
use stillpoint_model::{Error, Result};
use stillpoint_ports::TargetDisk;

use super::{
    chosen::{Chosen, Stored, Wanted},
    ended_with,
};
use crate::{output, remote, session::Session};

/// A target is measured with one part of so many of what a restore writes to it, within these bounds: the measuring must not take long
/// beside the restore, and more than the caches of disks hold tells no more.
const PROBE_SHARE: u64 = 32;
const PROBE_BYTES: (u64, u64) = (1 << 20, 64 << 20);
/// Noise that is repeated: more than what compressing file systems look at, and less than takes long to make.
const NOISE_BYTES: usize = 1 << 20;
/// Packs read to see how fast the vault gives them; a restore reads as many at once.
pub const PROBE_PACKS: usize = 3;
/// A restore of less is over before an estimate of it is of use.
const WORTH_IT_BYTES: u64 = 1 << 30;

/// How fast one side is.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    bytes: u64,
    time: Duration,
}

impl Rate {
    pub fn per_second(&self) -> u64 {
        (self.bytes as f64 / self.time.as_secs_f64().max(1e-6)) as u64
    }

    /// How long so many bytes take.
    pub fn takes(&self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.per_second().max(1) as f64)
    }
}

/// A side of a restore that takes bytes.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Within its limits.
    pub rate: Rate,
    /// What it could do.
    pub unlimited: Rate,
    /// Where that is known.
    pub free_bytes: Option<u64>,
}

/// See the module.
pub struct Estimate {
    /// What is written at most.
    pub data_bytes: u64,
    /// What is read of the vault for it.
    pub stored_bytes: u64,
    /// None where nothing is read.
    pub vault: Option<Rate>,
    pub target: Measured,
}

impl Estimate {
    /// Measures where a restore is large enough, its point is in the vault, it is done here, and its target can be measured.
    pub async fn if_worth_it(session: &Session, chosen: &Chosen, targets: &[TargetDisk]) -> Result<Option<Self>> {
        if data_bytes(targets) < WORTH_IT_BYTES || chosen.snapshot.is_some() || session.remote.is_some() {
            return Ok(None);
        }
        let Ok(estimate) = Self::measure(session, chosen, targets).await else { return Ok(None) };
        if !session.global.json {
            output::line(&format!("this takes about {:.0} s; the {} is the slower side", estimate.seconds(), estimate.limit()));
        }
        Ok(Some(estimate))
    }

    async fn measure(session: &Session, chosen: &Chosen, targets: &[TargetDisk]) -> Result<Self> {
        if chosen.snapshot.is_some() {
            return Err(Error::invalid("the point is only in a snapshot yet; estimates are made of points in the vault"));
        }
        let data_bytes = data_bytes(targets);
        let first = targets.first().ok_or_else(|| Error::invalid("no disk is restored"))?;
        Ok(Self {
            data_bytes,
            stored_bytes: chosen.stored.read_bytes(data_bytes),
            vault: vault_rate(session, &chosen.stored).await?,
            target: target_rate(session, first, data_bytes).await?,
        })
    }

    fn reading(&self) -> Duration {
        self.vault.map_or(Duration::ZERO, |rate| rate.takes(self.stored_bytes))
    }

    fn writing(&self) -> Duration {
        self.target.rate.takes(self.data_bytes)
    }

    pub fn duration_ms(&self) -> u64 {
        u64::try_from(self.reading().max(self.writing()).as_millis()).unwrap_or(u64::MAX)
    }

    fn seconds(&self) -> f64 {
        (self.duration_ms() as f64 / 1000.0).max(1.0)
    }

    /// The slower side.
    fn limit(&self) -> &'static str {
        if self.reading() > self.writing() { "vault" } else { "target" }
    }

    fn warnings(&self) -> Vec<String> {
        let full = self.target.free_bytes.filter(|free| *free < self.data_bytes);
        let warning = |free| {
            let (free, needed) = (output::bytes(free), output::bytes(self.data_bytes));
            format!("the target has {free} free, and up to {needed} are written: choose another place")
        };
        full.map(warning).into_iter().collect()
    }

    fn document(&self) -> Value {
        json!({
            "data_bytes": self.data_bytes,
            "stored_bytes": self.stored_bytes,
            "vault_bytes_per_second": self.vault.as_ref().map(Rate::per_second),
            "target_bytes_per_second": self.target.rate.per_second(),
            "free_bytes": self.target.free_bytes,
            "limit": self.limit(),
            "estimated_ms": self.duration_ms(),
            "warnings": self.warnings(),
        })
    }

    fn lines(&self) -> [String; 3] {
        let rate = |rate: &Rate| format!("{}/s", output::bytes(rate.per_second()));
        let read = self.vault.as_ref().map_or_else(|| "no speed".to_owned(), rate);
        let free = self.target.free_bytes.map(|free| format!("; {} are free", output::bytes(free))).unwrap_or_default();
        [
            format!("reads   {} from the vault, at {read}", output::bytes(self.stored_bytes)),
            format!("writes  {} at {}{free}", output::bytes(self.data_bytes), rate(&self.target.rate)),
            format!("takes   about {:.0} s; the {} is the slower side", self.seconds(), self.limit()),
        ]
    }
}

/// Measures, and says how long the restore would take and whether there is room.
pub async fn run(session: &Session, wanted: Wanted) -> Result<ExitCode> {
    let chosen = Chosen::find(session, &wanted).await?;
    let targets = chosen.targets(&wanted)?;
    if !targets.iter().all(|target| is_seen_from_here(session, target)) {
        return Err(Error::invalid("the target is where the workers are, and cannot be measured from here"));
    }
    let estimate = Estimate::measure(session, &chosen, &targets).await?;
    if session.global.json {
        let mut document = estimate.document();
        document["point"] = json!(chosen.point);
        output::json(&document)?;
    } else {
        estimate.lines().iter().for_each(|line| output::line(line));
    }
    Ok(ended_with(session, &estimate.warnings()))
}

/// Whether this host writes to the same place as those who carry the restore.
pub fn is_seen_from_here(session: &Session, target: &TargetDisk) -> bool {
    let at_site = || remote::site(&session.global).is_ok_and(|site| remote::is_here(&site));
    session.remote.is_none() || stillpoint_staging::is_object(&target.location) || at_site()
}

/// What is written at most.
pub fn data_bytes(targets: &[TargetDisk]) -> u64 {
    targets.iter().map(|target| target.data_bytes).fold(0, u64::saturating_add)
}

/// Reads some of the point's largest packs at once; `None` where it has none.
pub async fn vault_rate(session: &Session, stored: &Stored) -> Result<Option<Rate>> {
    if stored.packs.is_empty() {
        return Ok(None);
    }
    let begin = Instant::now();
    let read = |name: &String| {
        let name = name.clone();
        async move { session.vault.store().get(&name, limits::PACK_BYTES_MAX as u64).await.map(|bytes| bytes.len() as u64) }
    };
    let reads: Vec<_> = stored.packs.iter().map(read).collect();
    let sizes: Vec<u64> = stream::iter(reads).buffer_unordered(PROBE_PACKS).try_collect().await?;
    Ok(Some(Rate { bytes: sizes.iter().sum(), time: begin.elapsed() }))
}

/// Writes where the disk goes, which may have limits.
pub async fn target_rate(session: &Session, disk: &TargetDisk, data_bytes: u64) -> Result<Measured> {
    let length = (data_bytes / PROBE_SHARE).clamp(PROBE_BYTES.0, PROBE_BYTES.1);
    let mut noise = vec![0; NOISE_BYTES];
    session.vault.random().fill(&mut noise);
    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
    let mut noise = noise.repeat(bytes.div_ceil(NOISE_BYTES));
    noise.truncate(bytes);
    let begin = Instant::now();
    let free_bytes = session.target.probe(disk, Bytes::from(noise)).await?;
    let limit = disk.limits.as_ref().and_then(|limits| limits.bytes_per_second);
    let limited = limit.map_or(Duration::ZERO, |limit| Duration::from_secs_f64(length as f64 / limit.max(1) as f64));
    let time = begin.elapsed();
    let rate = |time| Rate { bytes: length, time };
    Ok(Measured { rate: rate(time.max(limited)), unlimited: rate(time), free_bytes })
}
