use std::process::ExitCode;

use serde_json::json;
use stillpoint_fleet::{Fleet, Member};
use stillpoint_model::{ItemName, PolicyName, Result, policy::Policy};

use super::{conflicts, damages, is_chosen, words};
use crate::{commands::ended_with, output, session::Session};

/// What applying a policy came to.
struct Applied<'a> {
    policy: &'a Policy,
    version: u32,
    changed: bool,
    before: Fleet,
    after: Fleet,
}

pub async fn run(session: &Session, policy: &Policy) -> Result<ExitCode> {
    let applied = Applied::now(session, policy).await?;
    let warnings = applied.warnings();
    if session.global.json {
        applied.document(&warnings)?;
    } else {
        applied.tell();
    }
    Ok(ended_with(session, &warnings))
}

fn followers(fleet: &Fleet, name: &PolicyName) -> Vec<ItemName> {
    let followers = fleet.members.iter().filter(|member| member.policy() == Some(name));
    followers.map(|member| member.item.name.clone()).collect()
}

/// Those of `names` that are not among `others`; both rise.
fn without(names: &[ItemName], others: &[ItemName]) -> Vec<ItemName> {
    names.iter().filter(|name| others.binary_search(name).is_err()).cloned().collect()
}

impl<'a> Applied<'a> {
    async fn now(session: &Session, policy: &'a Policy) -> Result<Self> {
        let vault = &session.vault;
        let before = Fleet::load(vault).await?;
        if before.policies.get(&policy.name).is_some_and(|record| record.policy == *policy) {
            let version = vault.policy_versions(&policy.name).await?.last().copied().unwrap_or_default();
            return Ok(Self { policy, version, changed: false, after: before.clone(), before });
        }
        before.refuse_shortening(vault, &before.with_policy(policy, vault.clock().now())).await?;
        let version = vault.write_policy(policy).await?;
        // Read anew, so that of two policies applied at once at least the later command names the machines that both chose.
        Ok(Self { policy, version, changed: true, before, after: Fleet::load(vault).await? })
    }

    fn followers(&self) -> [Vec<ItemName>; 3] {
        let [before, now] = [&self.before, &self.after].map(|fleet| followers(fleet, &self.policy.name));
        let (gains, loses) = (without(&now, &before), without(&before, &now));
        [now, gains, loses]
    }

    /// Names in the policy that no machine has.
    fn unknown_names(&self) -> Vec<&ItemName> {
        self.policy.applies_to.names.iter().filter(|name| self.after.member(name).is_none()).collect()
    }

    fn chosen(&self) -> impl Iterator<Item = &Member> {
        self.after.members.iter().filter(|member| is_chosen(member, &self.policy.name))
    }

    fn warnings(&self) -> Vec<String> {
        damages(&self.after).chain(self.chosen().filter_map(Member::unclear)).collect()
    }

    fn document(&self, warnings: &[String]) -> Result<()> {
        let [now, gains, loses] = self.followers();
        output::json(&json!({
            "policy": self.policy.name,
            "version": self.version,
            "changed": self.changed,
            "machines": now,
            "gains": gains,
            "loses": loses,
            "unknown_names": self.unknown_names(),
            "conflicts": conflicts(self.chosen()),
            "warnings": warnings,
        }))
    }

    fn tell(&self) {
        let [now, gains, loses] = self.followers();
        let what = if self.changed { "applied" } else { "as before; nothing written" };
        output::line(&format!("policy {}, version {}: {what}", self.policy.name, self.version));
        match now.len() {
            0 => {
                output::line("no machine follows it; see applies_to, or `stillpoint machine tag` and `stillpoint machine policy`")
            }
            count => output::line(&format!("followed by {}: {}", words::machines(count), words::names(&now))),
        }
        for (what, names) in [("new among them", gains), ("not any more", loses)] {
            if !names.is_empty() {
                output::line(&format!("{what}: {}", words::names(&names)));
            }
        }
        let unknown = self.unknown_names();
        if !unknown.is_empty() {
            output::line(&format!("named in it, but no machine of this vault: {}", words::names(&unknown)));
        }
    }
}
