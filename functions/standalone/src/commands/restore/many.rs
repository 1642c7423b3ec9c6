//! Many machines, spread over a pool of staging targets.

mod forecast;
mod pool;
mod report;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, FuturesUnordered},
};
use stillpoint_jobs::Job;
use stillpoint_model::{Error, ErrorKind, ItemName, JobId, Result};
use stillpoint_policy_file::{MACHINES_BYTES_MAX, RestoreEntry, StagingTarget, restores_from_toml};
use stillpoint_ports::{TargetDisk, TargetLimits};
use stillpoint_runtime::begin_job;

use super::{
    chosen::{Chosen, Places, Wanted},
    estimate::{data_bytes, is_seen_from_here},
    operation, outcome_of,
};
use crate::{
    args::{Format, Restore},
    disks, input,
    interrupt::Interrupt,
    output,
    progress::Display,
    remote,
    session::Session,
};
use forecast::Forecast;
use pool::{Pool, Task};

/// Machines whose places are looked at side by side.
const LOOKS_AT_ONCE: usize = 16;

/// A machine to be restored, and the point that was found for it.
struct Machine {
    wanted: Wanted,
    chosen: Chosen,
    /// What is written at most.
    bytes: u64,
    /// The one target that it may go to.
    only: Option<usize>,
}

impl Machine {
    async fn find(session: &Session, entry: RestoreEntry, places: &[Place], overwrite: bool) -> Result<Self> {
        let only = entry.target.and_then(|name| places.iter().position(|place| place.target.name == name));
        let (name, point) = (entry.name, entry.point);
        // Its place is not known yet; which disks it has does not depend on it.
        let place = places[only.unwrap_or(0)].of(&name)?;
        let wanted = Wanted { name, point, places: place, overwrite, limits: None };
        let found = Chosen::find(session, &wanted).await;
        let chosen = found.map_err(|error| error.context(format!("machine {}", wanted.name)))?;
        let bytes = data_bytes(&chosen.targets(&wanted)?);
        Ok(Self { wanted, chosen, bytes, only })
    }

    fn at(&self, place: &Place) -> Result<Wanted> {
        let Wanted { name, point, overwrite, .. } = &self.wanted;
        let places = place.of(name)?;
        Ok(Wanted { name: name.clone(), point: point.clone(), places, overwrite: *overwrite, limits: place.limits() })
    }
}

/// A target, and the folder that it is.
struct Place {
    target: StagingTarget,
    folder: PathBuf,
}

impl Place {
    /// A store has its limits in its URL.
    fn new(target: StagingTarget) -> Result<Self> {
        let mut folder = PathBuf::from(&target.to);
        if disks::is_store(&folder) {
            let wrong = |error| Error::invalid(format!("target {}: 'to' is no URL", target.name)).with_source(error);
            let mut url = url::Url::parse(&target.to).map_err(wrong)?;
            let limits = [
                ("bytes_per_second", target.bytes_per_second.map(|most| most.0.min(u64::from(u32::MAX)))),
                ("requests_per_second", target.requests_per_second.map(u64::from)),
                ("streams", target.streams.map(u64::from)),
            ];
            for (name, limit) in limits.into_iter().filter_map(|(name, limit)| Some((name, limit?))) {
                url.query_pairs_mut().append_pair(name, &limit.to_string());
            }
            folder = PathBuf::from(url.as_str());
        }
        Ok(Self { target, folder })
    }

    /// Where a machine's disks go in it.
    fn of(&self, machine: &ItemName) -> Result<Places> {
        let folder = match disks::is_store(&self.folder) {
            true => PathBuf::from(disks::in_store(&self.folder, machine.as_str())?),
            false => self.folder.join(machine.as_str()),
        };
        Ok(Places::Folder(folder, Format::Raw))
    }

    fn limits(&self) -> Option<TargetLimits> {
        let StagingTarget { name, bytes_per_second, streams, .. } = &self.target;
        let is_limited = bytes_per_second.is_some() || streams.is_some();
        (is_limited && !disks::is_store(&self.folder)).then(|| TargetLimits {
            target: name.clone(),
            bytes_per_second: bytes_per_second.map(|most| most.0),
            streams: *streams,
        })
    }

    /// A disk that it is measured with.
    fn probe(&self, machines: &[Machine]) -> Result<TargetDisk> {
        let first = machines.first().ok_or_else(|| Error::invalid("no machine is restored"))?;
        let mut disks = first.chosen.targets(&first.at(self)?)?;
        if disks.is_empty() { Err(Error::invalid("the first machine has no disk")) } else { Ok(disks.swap_remove(0)) }
    }
}

/// A machine that is there, or is not.
struct End {
    machine: usize,
    at: Option<usize>,
    result: Result<Job>,
}

/// Machines on their way to targets.
struct Spread<'a> {
    session: &'a Session,
    machines: &'a [Machine],
    places: &'a [Place],
    forecast: &'a Forecast,
    display: Arc<Display>,
    in_flight: usize,
}

impl Spread<'_> {
    /// The machine's disks that are at a target already, which nobody asked to replace: of an earlier run of the same list, perhaps.
    async fn there(&self, machine: usize) -> Result<Option<End>> {
        let of = &self.machines[machine];
        for (at, place) in self.places.iter().enumerate().filter(|_| !of.wanted.overwrite) {
            let disks = of.chosen.targets(&of.at(place)?)?;
            if !disks.iter().all(|disk| is_seen_from_here(self.session, disk)) {
                continue;
            }
            match self.session.target.check(JobId::new(self.session.vault.ulid()), &disks).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    return Ok(Some(End { machine, at: Some(at), result: Err(error) }));
                }
                // What else is wrong with a target is seen when a machine begins there.
                _ => {}
            }
        }
        Ok(None)
    }

    /// Restores all, and says what came of each, in the order of the list.
    async fn run(&self) -> Result<Vec<End>> {
        let (mut tasks, mut ends) = (Vec::new(), Vec::new());
        let looks: Vec<_> = (0..self.machines.len()).map(|machine| self.there(machine)).collect();
        let found: Vec<Option<End>> = stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
        for ((machine, of), found) in self.machines.iter().enumerate().zip(found) {
            match found {
                Some(end) => ends.push(end),
                None => tasks.push(Task { machine, bytes: of.bytes, only: of.only, ..Task::default() }),
            }
        }
        let mut pool = Pool::new(self.places.iter().map(|place| place.target.at_once), tasks);
        let (mut running, mut heard) = (FuturesUnordered::new(), false);
        loop {
            while let Some((task, at)) = if heard { None } else { pool.next() } {
                let readers = running.len() + 1;
                running.push(self.one(task, at, readers));
            }
            let Some((task, at, result, interrupted)) = running.next().await else { break };
            heard |= interrupted;
            let machine = task.machine;
            match &result {
                Ok(_) => pool.done(at),
                Err(error) => {
                    let name = &self.places[at].target.name;
                    output::complain(&format!("{} at {name}: {}", self.machines[machine].wanted.name, error.one_line()));
                    if pool.failed(task, at) && !heard {
                        continue;
                    }
                }
            }
            ends.push(End { machine, at: Some(at), result });
        }
        let left = |machine| End { machine, at: None, result: Err(Error::fenced("it was not begun")) };
        ends.extend(pool.left().map(left));
        ends.sort_by_key(|end| end.machine);
        // One that was to begin anew when Ctrl-C came has both an end and a place in the queue.
        ends.dedup_by_key(|end| end.machine);
        Ok(ends)
    }

    async fn one(&self, task: Task, at: usize, readers: usize) -> (Task, usize, Result<Job>, bool) {
        let mut interrupt = match Interrupt::listen() {
            Err(error) => return (task, at, Err(error), false),
            Ok(interrupt) => interrupt,
        };
        let expected = self.forecast.takes(task.machine, task.bytes, at, readers);
        let result = self.restore(&self.machines[task.machine], &self.places[at], expected, &mut interrupt).await;
        (task, at, result, interrupt.heard())
    }

    async fn restore(&self, machine: &Machine, place: &Place, expected: Duration, interrupt: &mut Interrupt) -> Result<Job> {
        let wanted = machine.at(place)?;
        let disks = machine.chosen.targets(&wanted)?;
        let expected_ms = u64::try_from(expected.as_millis()).unwrap_or(u64::MAX);
        let (what, _made) = operation(self.session, wanted, &machine.chosen, disks, Some(expected_ms)).await?;
        let site = remote::site(&self.session.global)?;
        let begun = begin_job(&self.session.engine, self.session.request(what, site.as_str())).await?;
        let job = self.session.complete_beside(begun, (&self.display, self.in_flight), interrupt).await?;
        outcome_of(&job)?;
        Ok(job)
    }
}

pub async fn run(session: &Session, file: &Path, args: &Restore) -> Result<ExitCode> {
    let text = input::text(file, MACHINES_BYTES_MAX)?;
    let list = restores_from_toml(&text).map_err(|error| Error::from(error).context(input::shown(file)))?;
    let places: Vec<Place> = list.targets.into_iter().map(Place::new).collect::<Result<_>>()?;
    let mut machines = Vec::with_capacity(list.machines.len());
    // What can be refused is refused before any begins.
    for entry in list.machines {
        machines.push(Machine::find(session, entry, &places, args.overwrite).await?);
    }
    let mut interrupt = Interrupt::listen()?;
    session.take_on_unfinished(&mut interrupt).await?;
    let forecast = Forecast::measure(session, &machines, &places).await?;
    let head = report::Head {
        machines: &machines,
        places: &places,
        forecast: &forecast,
        expected: forecast.all(&machines, &places),
        warnings: forecast.warnings(&machines, &places),
    };
    if args.estimate {
        return head.estimate(session);
    }
    head.begin(session);
    let in_flight = (session.in_flight() / places.len().min(machines.len())).max(2);
    let display = session.display();
    let spread = Spread { session, machines: &machines, places: &places, forecast: &forecast, display, in_flight };
    let started = Instant::now();
    let ends = spread.run().await?;
    spread.display.clear();
    head.end(session, &ends, started.elapsed())
}
