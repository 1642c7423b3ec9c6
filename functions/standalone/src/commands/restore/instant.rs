//! `restore --instant`: a machine runs from the vault at once, on overlays over its point, and its disks are filled meanwhile.
//!
//! This process serves the point until the overlays hold all of it. Killed, it goes on with the same command: what the guest wrote is in
//! the overlays, and what they are of in [`State`].

mod filling;
mod machine;
mod serving;
mod state;

use std::{
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use stillpoint_model::{Error, ErrorKind, JobId, Result};
use stillpoint_nbd::Address;
use stillpoint_ports::{FirmwareVariables, Progress};
use stillpoint_qemu::{Monitor, Overlay};
use stillpoint_reader::PointReader;
use stillpoint_vault::Point;

use self::{filling::Filled, machine::Socket, serving::Serving, state::State};
use super::{
    super::{ended_with, worker::stopped},
    anew::{Anew, Configuration, Restored},
    firmware, make_folder,
};
use crate::{
    args::{Format, Restore},
    output,
    session::Session,
    start::{MONITOR, Script},
    when::{self, Found},
};

/// Memory for what was read of the point and may be read again.
const CACHE_BYTES: u64 = 256 << 20;
/// How long the guest's reads wait for this process, should it be killed, before they fail.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long a machine that was just started has the point to itself, if it does not read before.
const HEAD_START: Duration = Duration::from_secs(5);
const TOOLS: &str = "qemu-img";

/// Everything of one such restore.
struct Instantly<'a> {
    session: &'a Session,
    anew: Anew,
    begun: Instant,
    point: Point,
    state: State,
    overlays: Vec<Overlay>,
    nbd: Address,
    monitor: Socket,
    bytes_per_second: u64,
}

pub async fn run(session: &Session, args: Restore, anew: Anew) -> Result<ExitCode> {
    if args.format == Some(Format::Raw) {
        return Err(Error::invalid("--instant makes qcow2 images; leave --format out"));
    }
    let begun = Instant::now();
    let (nbd, monitor) = (Address::unix(anew.folder.join("point.nbd"))?, Socket::new(anew.folder.join(MONITOR))?);
    let kept = State::read(&anew.folder)?;
    let is_new = kept.is_none();
    let (point, state) = match kept {
        Some(state) => (state.point_of(session, &args, &anew.name).await?, state),
        None => {
            let point = new_point(session, &args, &anew.folder).await?;
            let state = State::new(session.vault.identity().id, &point, anew.name.clone());
            (point, state)
        }
    };
    let reader = PointReader::open(session.vault.clone(), Arc::clone(&session.cpu), &point, CACHE_BYTES).await?;
    let overlay = |disk: &stillpoint_vault::PointDisk| Overlay {
        disk: disk.name.clone(),
        size_bytes: disk.size_bytes,
        image: anew.folder.join(format!("{}.qcow2", disk.name)),
    };
    let overlays = point.disks.iter().map(overlay).collect();
    let bytes_per_second = args.fill_rate.map_or(0, |rate| rate.0);
    let mut this = Instantly { session, anew, begun, point, state, overlays, nbd, monitor, bytes_per_second };
    // The script comes last: where it is, the overlays are, and may hold what a guest wrote.
    let made = if this.anew.path().exists() { None } else { Some(this.script().await?) };
    let _made = make_folder(&this.anew.folder)?;
    if is_new {
        this.state.write(&this.anew.folder)?;
    }
    let stop = stopped()?;
    let serving = Serving::start(&this.nbd, &reader).await?;
    let done = tokio::select! {
        () = stop => None,
        done = this.carry_out(&serving, made.as_ref()) => Some(done),
    };
    let ended = match done {
        Some(Ok(filled)) => this.end(&filled, made.map(|(script, _)| script)),
        Some(Err(error)) => Err(error),
        None => Err(this.pause().await),
    };
    serving.stop().await;
    ended
}

/// The point to begin with.
async fn new_point(session: &Session, args: &Restore, folder: &Path) -> Result<Point> {
    let point = match when::find(&session.engine, args.name()?, &args.point).await? {
        Found::Vault(point) => *point,
        Found::Snapshot(kept) => {
            return Err(Error::invalid(format!(
                "point {} of {} is not in the vault, only in a snapshot; restore it without --instant",
                kept.point, kept.item
            )));
        }
    };
    let others = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        entries => {
            let entries = entries.map_err(|error| Error::from(error).context(folder.display()))?;
            entries.flatten().filter(|entry| entry.file_name() != state::DRAFT).count()
        }
    };
    if others > 0 {
        return Err(Error::conflict(format!("{} holds other things; give a folder that is new or empty", folder.display())));
    }
    Ok(point)
}

/// Whether a program can be run here.
pub fn installed(program: &str) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(program));
    if if program.contains('/') { Path::new(program).is_file() } else { places.any(|place| place.is_file()) } {
        return Ok(());
    }
    Err(Error::missing(format!("{} is not installed here", program.escape_debug())))
}

impl Instantly<'_> {
    /// The start script, and what the firmware remembers before it; refused where the machine cannot be started by it, or should not be unread.
    async fn script(&self) -> Result<(Script, Option<FirmwareVariables>)> {
        let item = &self.point.item;
        let serve = format!("`stillpoint serve-point {item}` serves its disks to a machine of yours");
        match self.session.vault.item(item).await {
            Ok(item) if item.platform != "qemu" => {
                return Err(Error::invalid(format!(
                    "nothing tells how to boot a machine of platform {}; {serve}",
                    item.platform
                )));
            }
            Err(error) if error.kind() != ErrorKind::Missing => return Err(error),
            _ => {}
        }
        let told = self.session.vault.description(&self.point).await?;
        let told = told.ok_or_else(|| {
            Error::missing(format!("no point of {item} tells how to boot it, since it was on at none of them; {serve}"))
        })?;
        let configuration = Configuration::read(&told.configuration)?;
        for program in configuration.arguments.first().map(String::as_str).into_iter().chain([TOOLS]) {
            installed(program)?;
        }
        let restored = |overlay: &Overlay| Restored { name: overlay.disk.clone(), file: overlay.image.clone(), format: "qcow2" };
        let disks = self.overlays.iter().map(restored).collect();
        let variables = told.firmware_variables.as_ref();
        let mut script = self.anew.script(self.session, item, Ok(configuration), disks, variables).await?;
        script.warnings.extend(told.notice(self.point.id));
        match script.obstacles.first() {
            Some(why) => Err(Error::conflict(format!("{why}; restore without --instant and change the start script"))),
            None => Ok((script, told.firmware_variables)),
        }
    }

    /// Boots the machine, unless it is on, and fills its disks.
    async fn carry_out(&mut self, serving: &Serving, made: Option<&(Script, Option<FirmwareVariables>)>) -> Result<Filled> {
        if let Some((script, variables)) = made {
            let Address::Unix(socket) = &self.nbd else { return Err(Error::internal("the point is served at a Unix socket")) };
            for overlay in &self.overlays {
                overlay.create(socket, PATIENCE).await?;
            }
            if let Some(variables) = variables {
                firmware::write(&self.anew.folder, variables)?;
            }
            self.anew.store(script)?;
        }
        let (mut monitor, started) = machine::running(&self.anew.path(), &self.anew.folder, &self.monitor).await?;
        let is_halted = self.state.paused || monitor.status().await? == "io-error";
        if is_halted {
            monitor.go_on().await?;
        }
        self.state.set_paused(false, &self.anew.folder)?;
        serving.begin_anew();
        let running = self.begun.elapsed();
        if !self.session.global.json {
            let name = &self.anew.name;
            let how = if started { "is booting" } else { "runs on" };
            output::line(&format!("{name} {how} after {:.1} s; its disks are filled meanwhile", running.as_secs_f64()));
        }
        if started {
            serving.first_read_within(HEAD_START).await;
        }
        let display = self.session.display();
        // Shown as a job is, though this is none.
        let job = JobId::new(self.session.vault.ulid());
        display.planned(job, self.overlays.iter().map(|overlay| overlay.size_bytes).sum(), 0);
        let moved = |bytes| display.moved(job, bytes);
        let filled = filling::fill(&mut monitor, &self.overlays, self.bytes_per_second, moved).await;
        display.clear();
        let warnings = filled.map_err(|error| match error.kind() {
            ErrorKind::Unavailable => error.context("the machine ended before its disks were whole; run this again to go on"),
            _ => error,
        })?;
        let first_read = serving.first_read().map(|at| at.duration_since(self.begun));
        Ok(Filled { running, first_read, whole: self.begun.elapsed(), warnings })
    }

    /// What was kept for another run goes; the machine stays.
    fn end(&self, filled: &Filled, script: Option<Script>) -> Result<ExitCode> {
        State::remove(&self.anew.folder)?;
        let warnings = [script.map(|script| script.warnings).unwrap_or_default(), filled.warnings.clone()].concat();
        if self.session.global.json {
            let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let disk =
                |overlay: &Overlay| json!({ "name": overlay.disk, "size_bytes": overlay.size_bytes, "path": overlay.image });
            output::json(&json!({
                "machine": self.point.item, "point": self.point.id, "name": self.anew.name, "script": self.anew.path(),
                "disks": self.overlays.iter().map(disk).collect::<Vec<_>>(), "running_ms": ms(filled.running),
                "first_read_ms": filled.first_read.map(ms), "local_ms": ms(filled.whole), "warnings": warnings,
            }))?;
        } else {
            if let Some(read) = filled.first_read {
                output::line(&format!("the first read was served after {:.1} s", read.as_secs_f64()));
            }
            output::line(&format!("all disks are local after {:.1} s", filled.whole.as_secs_f64()));
            output::line(&format!("from now on, start it with {}", self.anew.path().display()));
        }
        Ok(ended_with(self.session, &warnings))
    }

    /// Halts the machine, so that nothing in it fails for want of its disks.
    async fn pause(&mut self) -> Error {
        let again = "run the same command again to go on";
        match self.halt().await {
            Ok(true) => {
                Error::fenced(format!("interrupted; {} is paused until its point is served again: {again}", self.anew.name))
            }
            Ok(false) => Error::fenced(format!("interrupted; {} is not on: {again}", self.anew.name)),
            Err(error) => error.context(format!("interrupted, and the machine could not be paused; {again}")),
        }
    }

    async fn halt(&mut self) -> Result<bool> {
        let Some(mut monitor) = Monitor::connect(self.monitor.path()).await? else { return Ok(false) };
        for overlay in &self.overlays {
            monitor.stop_filling(&overlay.disk).await?;
        }
        if monitor.status().await? == "running" {
            monitor.pause().await?;
            self.state.set_paused(true, &self.anew.folder)?;
        }
        Ok(true)
    }
}
