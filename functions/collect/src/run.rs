use std::collections::BTreeMap;

use stillpoint_fleet::Fleet;
use stillpoint_jobs::Engine;
use stillpoint_model::{ErrorKind, ItemName, JobId, MarkKind, Mutation, PointId, Result, policy::Clock};
use stillpoint_vault::{Collection, Regions};

use crate::{
    Margins,
    census::write_census,
    deletion::{delete, mark},
    fates::Fates,
    intent::{Intent, swept},
    look::Look,
    primary::Primary,
    records::{Records, wait_for_others},
    references::References,
    sweep::Sweep,
};

/// What a run found, or did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// How much, by name; units stand in the names.
    pub counts: BTreeMap<String, u64>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// Points that are freed now: they were condemned earlier, and nobody can need them any more.
    pub freed: Vec<(ItemName, PointId)>,
    /// Points that are condemned now: a later run frees them.
    pub condemned: Vec<(ItemName, PointId)>,
}

/// What a run saw, and what follows from it.
struct Seen {
    clock: Clock,
    records: Records,
    look: Look,
    fates: Fates,
    references: References,
    primary: Primary,
    intent: Intent,
}

impl Seen {
    async fn find(engine: &Engine, regions: &dyn Regions, records: Records, margins: &Margins) -> Result<Self> {
        let vault = engine.vault();
        let look = Look::take(engine).await?;
        let fleet = Fleet::load(vault).await?;
        let clock = fleet.clock(vault.clock().now(), &look.entries);
        let fates = Fates::judge(vault, &fleet, &clock, &look, &records, margins.points_condemned_max).await?;
        let references = References::find(vault, &look, &fates, &records, margins.in_flight).await?;
        let primary = Primary::look(vault, &fleet, regions).await;
        let mut intent = Intent::of(&look, &fates, &references, &primary, &records, margins);
        if Mutation::InFlightSwept.is_active() || Mutation::AgeAlone.is_active() {
            intent.deletes.extend(swept(&look, &references, clock.now()));
        }
        Ok(Self { clock, records, look, fates, references, primary, intent })
    }

    fn findings(&self, margins: &Margins) -> Findings {
        let mut warnings = self.look.warnings.clone();
        let pack =
            "no pack is condemned or deleted before that is mended, or the point deleted and its time to be undeleted over";
        warnings.extend(self.references.unknown.iter().map(|unknown| format!("{unknown}: {pack}")));
        warnings.extend(self.primary.warning());
        warnings.extend(self.clock.doubt().map(|doubt| doubt.to_string()));
        let late = self.intent.waited_for.iter().filter(|job| {
            let since = i64::try_from(job.timestamp_ms()).unwrap_or(i64::MAX);
            self.clock.now().as_millisecond().saturating_sub(since)
                > i64::try_from(margins.patience.as_millis()).unwrap_or(i64::MAX)
        });
        warnings.extend(late.map(|job| {
            format!(
                "job {job} has not ended for a long time, and what it may need stays; end it with `stillpoint jobs cancel {job}`"
            )
        }));
        let freed = self.fates.free.iter().map(|(item, entry)| (item.clone(), entry.id)).collect();
        let condemned = self.fates.condemn.iter().cloned().collect();
        Findings { counts: self.intent.counts(&self.fates, &self.references), warnings, freed, condemned }
    }
}

/// What a run would do now. Writes nothing.
///
/// # Errors
/// As the store; `corrupt` when a record of `collect` or the settings are.
pub async fn preview(engine: &Engine, regions: &dyn Regions, margins: &Margins) -> Result<Findings> {
    let records = Records::read(engine.vault()).await?;
    Ok(Seen::find(engine, regions, records, margins).await?.findings(margins))
}

/// One run of job `own`. Repeating it, and running it beside others, is harmless.
pub(crate) async fn run(engine: &Engine, regions: &dyn Regions, own: JobId, margins: &Margins) -> Result<Findings> {
    let vault = engine.vault();
    let mut records = Records::read(vault).await?;
    records.complete(engine, own).await?;
    // This job has condemned already, and its process died: what it condemned is a later run's.
    if records.newest_by == Some(own) {
        return Ok(Findings { counts: condemned_before(&records), ..Findings::default() });
    }
    let seen = Seen::find(engine, regions, records, margins).await?;
    let mut findings = seen.findings(margins);
    let Seen { clock, records, look, fates, references, primary, intent } = seen;
    mark(vault, &fates.revive, MarkKind::Undeleted, "its machine is protected again", margins.in_flight).await?;
    // From here on no process can make any of these a point again, one that was frozen in its commit included.
    mark(vault, &fates.free, MarkKind::Freed, "its time to be undeleted was over", margins.in_flight).await?;
    for names in &intent.remains {
        delete(vault, names, margins.in_flight).await?;
    }
    delete(vault, intent.deletes.iter().map(|(name, _)| name), margins.in_flight).await?;
    for (item, seq, census) in &references.changed {
        write_census(vault, item, *seq, census).await?;
    }
    if intent.changes_records(&fates) && !condemn(engine, own, &records, &fates, intent).await? {
        findings.counts.insert("overtaken_by_another_run".to_owned(), 1);
        return Ok(findings);
    }
    let is_replica = !matches!(primary, Primary::None);
    let sweep = Sweep { engine, margins, clock: &clock, is_replica };
    findings.counts.insert("objects_swept".to_owned(), sweep.run(&look).await?);
    let unfinished = sweep.unfinished().await?;
    if unfinished > 0 {
        findings.counts.insert("unfinished_files_removed".to_owned(), unfinished);
    }
    Ok(findings)
}

fn condemned_before(records: &Records) -> BTreeMap<String, u64> {
    let newest = records.open.iter().find(|open| open.seq == records.newest);
    let (points, objects) = newest.map_or((0, 0), |open| (open.record.points.len(), open.record.objects.len()));
    [("points_condemned", points), ("objects_condemned", objects)].map(|(name, count)| (name.to_owned(), count as u64)).into()
}

/// Writes the next record, then lists whom it waits for. Whether no other run was faster.
async fn condemn(engine: &Engine, own: JobId, records: &Records, fates: &Fates, intent: Intent) -> Result<bool> {
    let seq = records.newest + 1;
    let record = Collection {
        at: engine.vault().clock().now(),
        job: own,
        open: intent.open,
        points: fates.condemn.iter().cloned().collect(),
        objects: intent.condemn.into_iter().map(|(name, _)| name).collect(),
    };
    match engine.vault().create_collection(seq, &record).await {
        Err(error) if error.kind() == ErrorKind::Conflict => return Ok(false),
        other => other?,
    }
    if !record.points.is_empty() || !record.objects.is_empty() {
        wait_for_others(engine, seq, [own, own]).await?;
    }
    Ok(true)
}
