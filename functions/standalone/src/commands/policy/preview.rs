use std::{collections::HashMap, process::ExitCode};

use jiff::Timestamp;
use serde_json::{Value, json};
use stillpoint_fleet::{Fleet, Keeping, Kept, Member};
use stillpoint_model::{
    Error, ErrorKind, ItemName, Result,
    policy::{Act, Clock, Policy, Verdict},
};
use stillpoint_vault::{PointEntries, PointEntry};

use super::{conflicts, damages, is_chosen, words};
use crate::{commands::ended_with, output, session::Session};

/// A point and what becomes of it, now and with the policy.
struct Change {
    point: Kept,
    after: Verdict,
}

/// How a point fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Goes,
    /// It would have gone, and stays.
    Spared,
    Shorter,
    Longer,
    Same,
}

impl Change {
    fn fate(&self) -> Fate {
        let (before, after) = (&self.point.verdict, &self.after);
        let end = |verdict: &Verdict| verdict.keep_until.unwrap_or(Timestamp::MAX);
        match (before.act, after.act) {
            (_, Act::Prune) => Fate::Goes,
            (Act::Prune, _) => Fate::Spared,
            _ if end(after) < end(before) => Fate::Shorter,
            _ if end(after) > end(before) => Fate::Longer,
            _ => Fate::Same,
        }
    }

    /// Whether it goes without the policy, too.
    fn goes_anyway(&self) -> bool {
        self.fate() == Fate::Goes && self.point.verdict.act == Act::Prune
    }

    fn document(&self) -> Value {
        let side = |verdict: &Verdict| json!({ "act": verdict.act, "keep_until": verdict.keep_until, "reasons": verdict.reasons, "why": verdict.why() });
        json!({
            "id": self.point.point.id,
            "time": self.point.point.instant,
            "before": side(&self.point.verdict),
            "after": side(&self.after),
            "fate": self.fate().as_str(),
        })
    }

    fn row(&self, name: &ItemName) -> Vec<String> {
        let until = |verdict: &Verdict| {
            verdict.keep_until.map_or_else(|| "open".to_owned(), |until| until.strftime("%Y-%m-%d").to_string())
        };
        let by = |verdict: &Verdict| verdict.reasons.iter().map(|reason| reason.rule.as_str()).collect::<Vec<_>>().join(" ");
        vec![
            name.to_string(),
            self.point.point.id.to_string(),
            self.point.point.instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            until(&self.point.verdict),
            by(&self.point.verdict),
            until(&self.after),
            by(&self.after),
            self.fate().as_str().to_owned(),
        ]
    }
}

impl Fate {
    const ALL: [Self; 5] = [Self::Goes, Self::Spared, Self::Shorter, Self::Longer, Self::Same];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Goes => "goes",
            Self::Spared => "spared",
            Self::Shorter => "shorter",
            Self::Longer => "longer",
            Self::Same => "same",
        }
    }
}

/// Both fleets, and what is needed to judge points by them.
struct Preview<'a> {
    policy: &'a Policy,
    before: Fleet,
    after: Fleet,
    clock: Clock,
    entries: PointEntries,
    item: Option<&'a ItemName>,
    warnings: Vec<String>,
}

pub async fn run(session: &Session, policy: &Policy, item: Option<&ItemName>) -> Result<ExitCode> {
    let mut preview = Preview::of(session, policy, item).await?;
    let names: Vec<ItemName> = preview.concerned().map(|member| member.item.name.clone()).collect();
    let mut machines = Vec::with_capacity(names.len());
    for name in names {
        let changes = preview.machine(session, &name).await?;
        machines.push((name, changes));
    }
    if session.global.json {
        preview.document(&machines)?;
    } else {
        preview.tell(&machines);
    }
    Ok(ended_with(session, &preview.warnings))
}

impl<'a> Preview<'a> {
    async fn of(session: &Session, policy: &'a Policy, item: Option<&'a ItemName>) -> Result<Self> {
        let vault = &session.vault;
        let now = vault.clock().now();
        let before = Fleet::load(vault).await?;
        let after = before.with_policy(policy, now);
        let entries = vault.all_point_entries().await?;
        let clock = before.clock(now, &entries);
        if let Some(name) = item.filter(|name| after.member(name).is_none()) {
            return Err(Error::missing(format!("there is no machine {name} in this vault; see `stillpoint machine list`")));
        }
        let mut warnings: Vec<String> = damages(&before).collect();
        warnings.extend(clock.doubt().map(|doubt| doubt.to_string()));
        let mut preview = Self { policy, before, after, clock, entries, item, warnings };
        let unclear: Vec<String> = preview.concerned().filter_map(Member::unclear).collect();
        preview.warnings.extend(unclear);
        match preview.before.refuse_shortening(vault, &preview.after).await {
            Err(error) if error.kind() == ErrorKind::Denied => {
                preview.warnings.push(format!("this policy would be refused: {error}"));
            }
            outcome => outcome?,
        }
        Ok(preview)
    }

    /// Machines that the policy chooses or chose; with `--item`, that one in any case.
    fn concerned(&self) -> impl Iterator<Item = &Member> {
        let name = &self.policy.name;
        let is_or_was = move |member: &Member| {
            is_chosen(member, name) || self.before.member(&member.item.name).is_some_and(|before| is_chosen(before, name))
        };
        let is_meant = move |member: &&Member| match self.item {
            Some(item) => member.item.name == *item,
            None => is_or_was(member),
        };
        self.after.members.iter().filter(is_meant)
    }

    async fn machine(&mut self, session: &Session, name: &ItemName) -> Result<Vec<Change>> {
        let entries: Vec<PointEntry> = self.entries.remove(name).unwrap_or_default();
        let before = self.before.keeping(&session.vault, name, entries.clone(), &self.clock).await?;
        let after: Keeping = self.after.keeping(&session.vault, name, entries, &self.clock).await?;
        let damaged = before.unreadable.iter().map(|(id, error)| format!("point {id} of {name}: {}", error.one_line()));
        self.warnings.extend(damaged);
        let mut verdicts: HashMap<_, _> = after.points.into_iter().map(|kept| (kept.point.id, kept.verdict)).collect();
        let change = |point: Kept| verdicts.remove(&point.point.id).map(|after| Change { point, after });
        Ok(before.points.into_iter().filter_map(change).collect())
    }

    fn document(&self, machines: &[(ItemName, Vec<Change>)]) -> Result<()> {
        let machine = |(name, changes): &(ItemName, Vec<Change>)| {
            let policy = |fleet: &Fleet| fleet.member(name).and_then(Member::policy).cloned();
            json!({
                "machine": name,
                "policy_before": policy(&self.before),
                "policy_after": policy(&self.after),
                "points": changes.iter().map(Change::document).collect::<Vec<Value>>(),
            })
        };
        let mut totals = json!({ "machines": machines.len() });
        for fate in Fate::ALL {
            totals[fate.as_str()] = json!(count(machines, |change| change.fate() == fate));
        }
        totals["goes_anyway"] = json!(count(machines, Change::goes_anyway));
        output::json(&json!({
            "policy": self.policy.name,
            "time": self.clock.now(),
            "machines": machines.iter().map(machine).collect::<Vec<Value>>(),
            "totals": totals,
            "conflicts": conflicts(self.concerned()),
            "warnings": self.warnings,
        }))
    }

    fn tell(&self, machines: &[(ItemName, Vec<Change>)]) {
        let rows = machines.iter().flat_map(|(name, changes)| changes.iter().map(move |change| change.row(name)));
        let rows: Vec<Vec<String>> = rows.collect();
        if !rows.is_empty() {
            output::table(&["MACHINE", "POINT", "TIME", "KEPT UNTIL NOW", "BY", "WITH THIS POLICY", "BY", ""], rows);
        }
        let counted = |fate: Fate| count(machines, |change| change.fate() == fate);
        output::line(&format!(
            "{}: {} points would go at the next prune ({} of them go without this policy, too); of those that stay, {} would have \
             gone, {} are kept longer, {} shorter, {} as now",
            words::machines(machines.len()),
            counted(Fate::Goes),
            count(machines, Change::goes_anyway),
            counted(Fate::Spared),
            counted(Fate::Longer),
            counted(Fate::Shorter),
            counted(Fate::Same),
        ));
        output::line("nothing was written");
    }
}

fn count(machines: &[(ItemName, Vec<Change>)], counts: impl Fn(&Change) -> bool) -> usize {
    machines.iter().flat_map(|(_, changes)| changes).filter(|change| counts(change)).count()
}
