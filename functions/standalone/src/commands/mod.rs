//! One file per noun of the command line.

mod alarms;
mod backup;
mod collect;
mod dead;
mod demo;
mod drill;
mod files;
mod image;
mod import;
pub mod instant;
mod jobs;
mod kept;
mod machine;
mod machine_stop;
mod order;
mod pair;
mod phases;
mod point;
mod points;
mod policy;
mod prune;
mod read;
mod relay;
mod replication;
mod requester;
mod restore;
mod serve;
mod serve_point;
mod settings;
mod vault;
mod verify;
mod worker;

pub use verify::part as read_part;

use std::process::ExitCode;

use stillpoint_jobs::{Job, Operation, Outcome};
use stillpoint_model::{Error, JobState, Result};

use crate::{
    args::{Cli, Command, Drill},
    failure,
    session::Session,
};

/// Runs one command.
pub async fn run(cli: Cli) -> Result<ExitCode> {
    let Cli { global, command } = cli;
    if let Command::Demo { image } = command {
        return demo::run(global, image).await;
    }
    if let Command::Dead { command } = command {
        return dead::run(&global, command).await;
    }
    match command {
        Command::Drill(Drill::Verify { report }) => return drill::verify(&global, &report),
        Command::Drill(Drill::List { plan, reports }) => return drill::list(&global, &plan, &reports),
        _ => {}
    }
    if global.vault.is_none() {
        return Ok(failure::misuse("which vault? give --vault URL or set STILLPOINT_VAULT"));
    }
    match command {
        Command::Vault(command) => vault::run(global, command).await,
        Command::Machine(command) => machine::run(&Session::open(global).await?, command).await,
        Command::Policy(command) => policy::run(&Session::open(global).await?, command).await,
        Command::Backup { names, consistency, keep, instant, detach } => {
            let wanted = backup::Wanted { consistency, keep, instant_restore_seconds: instant };
            backup::run(&Session::open(global).await?, names, wanted, detach).await
        }
        Command::Points { name, all } => points::run(&Session::open(global).await?, &name, all).await,
        Command::Point(command) => point::run(&Session::open(global).await?, command).await,
        Command::Prune { dry_run } => prune::run(&Session::open(global).await?, dry_run).await,
        Command::Collect { dry_run } => collect::run(&Session::open(global).await?, dry_run).await,
        Command::Verify { name, read } => verify::run(&Session::open(global).await?, name, read).await,
        Command::Replicate { name } => pair::replicate(&Session::open(global).await?, name).await,
        Command::Restore(wanted) => restore::run(&Session::open_from(global, wanted.from.as_deref()).await?, wanted).await,
        Command::Requester(command) => requester::run(&Session::open(global).await?, command).await,
        Command::Order(wanted) => order::run(&global, wanted).await,
        Command::Drill(Drill::Run(wanted)) => drill::run(global, wanted).await,
        Command::Read { name, point, disk, offset, length } => {
            read::run(&Session::open(global).await?, &name, &point, &disk, offset, length).await
        }
        Command::Files(wanted) => files::run(&Session::open(global).await?, wanted).await,
        Command::ServePoint(wanted) => serve_point::run(&Session::open(global).await?, wanted).await,
        Command::Alarms { all } => alarms::run(&Session::open(global).await?, all).await,
        Command::Jobs { command } => jobs::run(&Session::open(global).await?, command).await,
        Command::Serve { tick, stalled_after, without_replica, drills } => {
            let wanted = serve::Wanted { tick, stalled_after, without_replica };
            serve::run(&Session::open(global).await?, wanted, drills).await
        }
        Command::Worker { functions, tick, stalled_after, patience } => {
            let wanted = worker::Wanted { functions, tick, stalled_after, patience };
            worker::run(&Session::open(global).await?, wanted).await
        }
        Command::Demo { .. } | Command::Dead { .. } | Command::Drill(Drill::Verify { .. } | Drill::List { .. }) => {
            Err(Error::internal("this command needs no vault"))
        }
    }
}

/// What a job achieved, or why it did not.
fn outcome_of(job: &Job) -> Result<&Outcome> {
    let what = format!("{} of {}", job.request.what.as_str(), job.request.what.subject());
    match (&job.newest.outcome, job.state()) {
        (Some(outcome), JobState::Completed | JobState::CompletedWithWarnings) => Ok(outcome),
        (_, state) => {
            let reason = job.newest.reason.as_deref().unwrap_or("no reason was recorded");
            Err(Error::internal(format!("{what} {state}: {reason}")))
        }
    }
}

/// Milliseconds from a job's first record to its newest.
fn duration_ms(job: &Job) -> u64 {
    let end = u64::try_from(job.newest.at.as_millisecond()).unwrap_or(0);
    end.saturating_sub(job.id.timestamp_ms())
}

/// How long a restore was expected to take.
const fn estimated_ms(job: &Job) -> Option<u64> {
    if let Operation::Restore { estimated_ms, .. } = &job.request.what { *estimated_ms } else { None }
}

/// The exit code of a job that is done.
fn exit_code(outcomes: &[&Outcome]) -> ExitCode {
    if outcomes.iter().all(|outcome| outcome.warnings.is_empty()) { ExitCode::SUCCESS } else { ExitCode::from(failure::WARNINGS) }
}

/// Says warnings, which `--json` has in its document, and returns the exit code that goes with them.
fn ended_with(session: &Session, warnings: &[String]) -> ExitCode {
    if warnings.is_empty() {
        return ExitCode::SUCCESS;
    }
    if !session.global.json {
        warnings.iter().for_each(|warning| crate::output::complain(&format!("warning: {warning}")));
    }
    ExitCode::from(failure::WARNINGS)
}
