//! Drills that `serve` starts when they are due, one at a time, beside everything else.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use jiff::Timestamp;
use stillpoint_model::{DrillName, Error, Result, policy::Timetable};
use stillpoint_policy_file::DrillEntry;

use super::{
    Done, alarm,
    ground::{Ground, folder},
    notes::{self, Notes},
    plan::{self, Drill},
    planned::Planned,
    prepared::Prepared,
    report::Verdict,
};
use crate::{
    args::{Global, ServeDrills},
    interrupt::Interrupt,
    session::Session,
};

/// See the module.
pub struct Scheduled {
    home: Session,
    plan: PathBuf,
    reports: PathBuf,
    into: Option<PathBuf>,
    every: Duration,
    /// As the plan was when it could be read.
    entries: Vec<DrillEntry>,
    /// When each was begun by this process, should nothing be noted of it.
    begun: BTreeMap<DrillName, Timestamp>,
    /// What was last said to be wrong: of the plan, and of each drill.
    said: BTreeMap<Option<DrillName>, String>,
    interrupt: Interrupt,
}

impl Scheduled {
    /// Reads the plan, and gives up what dead drills have left before anybody takes it on. `None` without a plan.
    pub async fn new(global: &Global, args: ServeDrills, every: Duration) -> Result<Option<Self>> {
        let (Some(plan), Some(reports)) = (args.drills, args.drill_reports) else { return Ok(None) };
        if plan.as_os_str() == "-" {
            return Err(Error::invalid("--drills takes a file, since it is read again when it has changed"));
        }
        let entries = plan::entries(&plan)?;
        let interrupt = Interrupt::of_service()?;
        // Nobody watches a service's progress.
        let home = Session::open(Global { json: true, ..global.clone() }).await?;
        let (begun, said) = (BTreeMap::new(), BTreeMap::new());
        let this = Self { home, plan, reports, into: args.drill_into, every, entries, begun, said, interrupt };
        if let Err(error) = this.clear().await {
            tracing::warn!("what dead drills have left was not given up: {}", error.one_line());
        }
        Ok(Some(this))
    }

    async fn clear(&self) -> Result<()> {
        let mut sessions = vec![Session::open(self.home.global.clone()).await?];
        for from in self.entries.iter().map(|entry| &entry.from).filter(|from| *from != "primary") {
            sessions.push(Session::open_from(self.home.global.clone(), Some(from)).await?);
        }
        Ground::new(self.into.as_deref(), &self.reports)?.clear(sessions.iter()).await
    }

    /// Looks what is due, again and again, until the process is to end; then it returns when what it does has ended.
    pub async fn run(mut self) {
        loop {
            self.read();
            for entry in self.entries.clone() {
                let looked = self.look(&entry).await;
                if self.interrupt.heard() {
                    return;
                }
                match looked {
                    Ok(()) => drop(self.said.remove(&Some(entry.name))),
                    Err(error) => self.fail(entry.name, &error).await,
                }
            }
            if self.interrupt.until(tokio::time::sleep(self.every)).await.is_none() {
                return;
            }
        }
    }

    /// Reads the plan again; one that cannot be read changes nothing.
    fn read(&mut self) {
        match plan::entries(&self.plan) {
            Ok(entries) => {
                self.entries = entries;
                self.said.remove(&None);
            }
            Err(error) => {
                let line = error.one_line();
                if self.said.insert(None, line.clone()).as_ref() != Some(&line) {
                    tracing::error!("the plan of drills stays as it was: {line}");
                }
            }
        }
    }

    /// Does one drill if it is due.
    async fn look(&mut self, entry: &DrillEntry) -> Result<()> {
        let timetable = Timetable::of(entry.schedules.clone())?;
        let reports = folder(&self.reports)?;
        let Some(_lock) = notes::lock(&reports)? else { return Ok(()) };
        let now = self.home.vault.clock().now();
        let notes = Notes::of(&reports, self.home.vault.identity().id, entry, now)?;
        let since = self.begun.get(&entry.name).map_or(notes.since, |begun| notes.since.max(*begun));
        if !timetable.owes(since, now) {
            // From when on it is to be done must be known, also if it never was.
            return if notes.is_new { notes.write(&reports) } else { Ok(()) };
        }
        self.begun.insert(entry.name.clone(), now);
        tracing::info!(drill = %entry.name, "a drill begins");
        let prepared = self.prepare(entry, &notes).await;
        let prepared = prepared.as_ref().map(|(prepared, ground)| (prepared, ground));
        let tell = |done: &Done| tell(&entry.name, done);
        let planned = Planned { plan: entry.name.clone(), notes, home: Some(&self.home), reports: &reports, tell: &tell };
        planned.carry_out(prepared, &mut self.interrupt).await.map(drop)
    }

    async fn prepare(&self, entry: &DrillEntry, notes: &Notes) -> Result<(Prepared, Ground)> {
        let ground = Ground::new(self.into.as_deref(), &self.reports)?;
        let drill = Drill::of_entry(entry.clone(), &self.plan)?;
        let prepared = Prepared::new(self.home.global.clone(), drill, &notes.failing()).await?;
        ground.clear(std::iter::once(&prepared.session)).await?;
        Ok((prepared, ground))
    }

    /// Says what stands in the way of a drill, once.
    async fn fail(&mut self, plan: DrillName, error: &Error) {
        let line = error.one_line();
        if self.said.insert(Some(plan.clone()), line.clone()).as_ref() == Some(&line) {
            return;
        }
        tracing::error!(drill = %plan, "{line}");
        if let Err(error) = alarm::set(&self.home, &plan, Some(line), false).await {
            tracing::error!(drill = %plan, "its alarm was not raised: {}", error.one_line());
        }
    }
}

fn tell(plan: &DrillName, done: &Done) {
    let (report, document) = (&done.report, done.document.display());
    let verdict = report.verdict.as_str();
    match report.verdict {
        Verdict::Passed => {
            tracing::info!(drill = %plan, machine = %report.machine, verdict, report = %document, "a drill was done")
        }
        _ => tracing::error!(drill = %plan, machine = %report.machine, verdict, report = %document, "{}", report.why()),
    }
}
