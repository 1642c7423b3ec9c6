use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::{Value, json};
use stillpoint_fleet::{Fleet, Member};
use stillpoint_model::{Error, ItemName, PolicyName, Result};
use stillpoint_policy_file::to_toml;
use stillpoint_vault::PolicyRecord;

use super::{conflicts, damages, is_chosen, words};
use crate::{
    commands::ended_with,
    output,
    runs::{self, Run},
    session::Session,
};

/// A version of a policy and the machines that it chooses, or would if it were the newest.
pub struct Shown {
    record: PolicyRecord,
    version: u32,
    versions: Vec<u32>,
    fleet: Fleet,
    warnings: Vec<String>,
}

impl Shown {
    pub async fn find(session: &Session, name: &PolicyName, version: Option<u32>) -> Result<Self> {
        let vault = &session.vault;
        let versions = vault.policy_versions(name).await?;
        let newest = *versions
            .last()
            .ok_or_else(|| Error::missing(format!("there is no policy {name} in this vault; see `stillpoint policy list`")))?;
        let version = version.unwrap_or(newest);
        if !versions.contains(&version) {
            return Err(Error::missing(format!("policy {name} has versions 1 to {newest}, not {version}")));
        }
        let record = vault.policy_version(name, version).await?;
        let current = Fleet::load(vault).await?;
        let fleet = if version == newest { current.clone() } else { current.with_policy(&record.policy, record.written) };
        let mut warnings: Vec<String> = damages(&current).collect();
        warnings.extend(fleet.members.iter().filter(|member| is_chosen(member, name)).filter_map(Member::unclear));
        Ok(Self { record, version, versions, fleet, warnings })
    }

    fn name(&self) -> &PolicyName {
        &self.record.policy.name
    }

    fn followers(&self) -> impl Iterator<Item = &Member> {
        self.fleet.members.iter().filter(|member| member.policy() == Some(self.name()))
    }

    fn document(&self) -> Value {
        json!({
            "name": self.name(),
            "version": self.version,
            "versions": self.versions,
            "written": self.record.written,
            "time_zone": self.record.policy.time_zone(),
            "policy": self.record.policy,
            "machines": self.followers().map(|member| &member.item.name).collect::<Vec<_>>(),
            "conflicts": conflicts(self.fleet.members.iter().filter(|member| is_chosen(member, self.name()))),
            "warnings": self.warnings,
        })
    }

    /// The policy as a file; what else there is to say stands in comments.
    pub fn file(&self, session: &Session) -> Result<ExitCode> {
        if session.global.json {
            output::json(&self.document())?;
        } else {
            let names: Vec<&ItemName> = self.followers().map(|member| &member.item.name).collect();
            let newest = self.versions.last().copied().unwrap_or_default();
            output::line(&format!("# version {} of {newest}, written {}", self.version, self.record.written));
            let who = if names.is_empty() { "no machine".to_owned() } else { words::names(&names) };
            output::line(&format!("# followed by {who}"));
            output::document(&to_toml(&self.record.policy)?)?;
        }
        Ok(ended_with(session, &self.warnings))
    }

    /// The next runs of each machine, or where it has none, of the policy itself.
    pub fn runs(&self, session: &Session, count: usize, from: Option<Timestamp>, item: Option<&ItemName>) -> Result<ExitCode> {
        let runs = self.next(from.unwrap_or_else(|| session.vault.clock().now()), count, item)?;
        if session.global.json {
            let mut document = self.document();
            document["runs"] = runs.iter().map(Run::document).collect();
            output::json(&document)?;
        } else {
            let row = |run: &Run| {
                let who = run.machine.as_ref().map_or_else(|| "(any)".to_owned(), ToString::to_string);
                let [start, utc, closes] = run.cells();
                vec![who, start, utc, closes]
            };
            output::table(&["MACHINE", "START", "UTC", "NOT AFTER"], runs.iter().map(row).collect());
        }
        Ok(ended_with(session, &self.warnings))
    }

    fn next(&self, from: Timestamp, count: usize, item: Option<&ItemName>) -> Result<Vec<Run>> {
        if let Some(name) = item {
            let member = self.followers().find(|member| member.item.name == *name);
            let member =
                member.ok_or_else(|| Error::missing(format!("machine {name} does not follow policy {}", self.name())))?;
            return runs::of_machine(member, &self.record, true, from, count);
        }
        let mut all = Vec::new();
        for member in self.followers() {
            all.extend(runs::of_machine(member, &self.record, true, from, count)?);
        }
        if self.followers().next().is_none() {
            all = runs::of_policy(&self.record, from, count)?;
        }
        Ok(all)
    }
}
