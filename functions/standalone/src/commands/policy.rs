//! `stillpoint policy`.

mod apply;
mod preview;
mod show;
mod words;

use std::{path::Path, process::ExitCode};

use serde_json::{Value, json};
use stillpoint_fleet::{Fleet, Member};
use stillpoint_model::{
    Error, PolicyName, Result,
    policy::{Assignment, Policy},
};
use stillpoint_policy_file::{FILE_BYTES_MAX, from_toml};

use super::ended_with;
use crate::{args::Policy as Command, input, output, session::Session};

pub async fn run(session: &Session, command: Command) -> Result<ExitCode> {
    match command {
        Command::Apply { file } => {
            session.vault.unless_replica().await?;
            apply::run(session, &read(&file)?).await
        }
        Command::List => list(session).await,
        Command::Show { name, version, next, from, item } => {
            let shown = show::Shown::find(session, &name, version).await?;
            match next {
                Some(count) => shown.runs(session, usize::from(count), from, item.as_ref()),
                None => shown.file(session),
            }
        }
        Command::Preview { file, item } => preview::run(session, &read(&file)?, item.as_ref()).await,
    }
}

fn read(file: &Path) -> Result<Policy> {
    let text = input::text(file, FILE_BYTES_MAX)?;
    from_toml(&text).map_err(|error| Error::from(error).context(input::shown(file)))
}

/// Whether the machine follows the policy, or would if no other chose it, too.
fn is_chosen(member: &Member, policy: &PolicyName) -> bool {
    match &member.assignment {
        Assignment::Policy(name) | Assignment::Unknown(name) => name == policy,
        Assignment::Conflict(names) => names.contains(policy),
        Assignment::None => false,
    }
}

/// Conflicts among these machines, for scripts.
fn conflicts<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<Value> {
    let conflict = |member: &Member| match &member.assignment {
        Assignment::Conflict(names) => Some(json!({ "machine": member.item.name, "policies": names })),
        _ => None,
    };
    members.filter_map(conflict).collect()
}

/// What is wrong with records that could not be read.
pub fn damages(fleet: &Fleet) -> impl Iterator<Item = String> + '_ {
    fleet.damaged.iter().map(|(what, why)| format!("{what} cannot be read: {why}"))
}

async fn list(session: &Session) -> Result<ExitCode> {
    let fleet = Fleet::load(&session.vault).await?;
    let versions = session.vault.policy_numbers().await?;
    let warnings: Vec<String> = damages(&fleet).chain(fleet.members.iter().filter_map(Member::unclear)).collect();
    let machines = |name: &PolicyName| fleet.members.iter().filter(|member| member.policy() == Some(name)).count();
    if session.global.json {
        let document = |(name, record): (&PolicyName, &stillpoint_vault::PolicyRecord)| {
            json!({
                "name": name,
                "version": versions.get(name),
                "written": record.written,
                "time_zone": record.policy.time_zone(),
                "machines": machines(name),
                "policy": record.policy,
            })
        };
        output::json(&json!({
            "policies": fleet.policies.iter().map(document).collect::<Vec<Value>>(),
            "conflicts": conflicts(fleet.members.iter()),
            "warnings": warnings,
        }))?;
    } else {
        let row = |(name, record): (&PolicyName, &stillpoint_vault::PolicyRecord)| {
            vec![
                name.to_string(),
                versions.get(name).map(ToString::to_string).unwrap_or_default(),
                machines(name).to_string(),
                words::schedules(&record.policy),
                words::retention(&record.policy.retention),
            ]
        };
        output::table(&["POLICY", ">VERSION", ">MACHINES", "SCHEDULE", "KEEPS"], fleet.policies.iter().map(row).collect());
    }
    Ok(ended_with(session, &warnings))
}
