use std::{collections::BTreeMap, process::ExitCode};

use serde_json::{Value, json};
use stillpoint_fleet::{Fleet, Member};
use stillpoint_model::{Error, ErrorKind, Immutability, ItemName, PolicyName, Result, policy::Assignment};
use stillpoint_vault::{Item, Protection};

use super::{ended_with, import, machine_stop};
use crate::{
    args::Machine as Command,
    disks, output, remote,
    runs::{self, Run},
    session::Session,
};

pub async fn run(session: &Session, command: Command) -> Result<ExitCode> {
    if !matches!(command, Command::List | Command::Show { .. } | Command::Untrack { .. }) {
        session.vault.unless_replica().await?;
    }
    match command {
        Command::Add { name, platform, disk, live, replace, tag, policy } => {
            let site = remote::site(&session.global)?;
            let mut item = Item::new(name, &platform, site.as_str(), disks::sources(&disk)?, session.vault.clock().now());
            item.settings = live.settings()?;
            item.tags = tags(tag)?;
            item.policy = policy;
            add(session, item, replace).await
        }
        Command::Import { file, replace } => import::run(session, &file, replace).await,
        Command::Tag { name, tag, remove } => {
            let new = tags(tag)?;
            let change = |item: &mut Item| {
                item.tags.retain(|key, _| !remove.contains(key));
                item.tags.extend(new);
            };
            self::change(session, &name, change).await
        }
        Command::Policy { name, policy, none: _ } => change(session, &name, |item| item.policy = policy).await,
        Command::Untrack { name } => untrack(session, &name).await,
        Command::Stop(wanted) => machine_stop::stop(session, wanted).await,
        Command::Undelete { name } => machine_stop::undelete(session, &name).await,
        Command::List => list(session).await,
        Command::Show { name } => show(session, session.vault.item(&name).await?, true, None).await,
    }
}

fn tags(given: Vec<(String, String)>) -> Result<BTreeMap<String, String>> {
    let mut tags = BTreeMap::new();
    for (key, value) in given {
        if tags.contains_key(&key) {
            return Err(Error::invalid(format!("tag {key} is given twice")));
        }
        tags.insert(key, value);
    }
    Ok(tags)
}

/// Has the platform look at a machine, and notes the disks that it finds.
///
/// # Errors
/// `invalid` when disks are named where the platform finds them, or none where it does not; as the platform.
pub async fn inspect(session: &Session, item: &mut Item) -> Result<()> {
    let platform = session.platforms.get(&item.platform)?;
    if (item.platform == "image") == item.disks.is_empty() {
        let (name, platform) = (&item.name, &item.platform);
        return Err(Error::invalid(match item.disks.is_empty() {
            true => format!("machine {name} has no disks; name them as --disk DISK=PATH"),
            false => format!("platform {platform} finds the disks of machine {name} by itself; do not name any"),
        }));
    }
    item.disks = platform.inspect(&item.source()).await?.into_iter().map(|disk| disk.source).collect();
    Ok(())
}

/// Checks the disks, then writes the machine's record. What is not given of a machine that exists stays as it is.
async fn add(session: &Session, mut item: Item, replace: bool) -> Result<ExitCode> {
    let name = item.name.clone();
    inspect(session, &mut item).await?;
    let Some((newest, old)) = session.vault.newest_item(&name).await? else {
        return write(session, None, item, 0, None).await;
    };
    if !replace {
        return Err(Error::conflict(format!("machine {name} already exists; give --replace to change it")));
    }
    let (old, lost) = match old {
        Ok(old) => (Some(old), None),
        // The only way to mend it. What it said is lost, so that is said.
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            (None, Some(format!("the record that was replaced cannot be read, with tags and policy: {}", error.one_line())))
        }
        Err(error) => return Err(error),
    };
    if let Some(old) = &old {
        item.protection = old.protection.clone();
        item.policy = item.policy.or_else(|| old.policy.clone());
        if item.tags.is_empty() {
            item.tags = old.tags.clone();
        }
    }
    write(session, old.as_ref(), item, newest, lost).await
}

async fn untrack(session: &Session, name: &ItemName) -> Result<ExitCode> {
    let item = session.vault.item(name).await?;
    let disks = session.platforms.get(&item.platform)?.untrack(&item.source()).await?;
    if session.global.json {
        output::json(&json!({ "machine": name, "disks": disks }))?;
    } else {
        output::line(&format!(
            "changes of {name} are not tracked any more ({disks} disks); the next backup reads all and tracks anew"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

async fn change(session: &Session, name: &ItemName, change: impl FnOnce(&mut Item)) -> Result<ExitCode> {
    let missing = || Error::missing(format!("there is no machine {name} in this vault; see `stillpoint machine list`"));
    let (newest, old) = session.vault.newest_item(name).await?.ok_or_else(missing)?;
    let old = old?;
    let mut item = old.clone();
    change(&mut item);
    item.written = session.vault.clock().now();
    write(session, Some(&old), item, newest, None).await
}

/// Writes a machine's record behind `old`, the one with the number `newest`, if it says anything else. `warning` is for the report.
async fn write(session: &Session, old: Option<&Item>, item: Item, newest: u32, warning: Option<String>) -> Result<ExitCode> {
    item.check()?;
    if old.is_some_and(|old| is_same(old, &item)) {
        if !session.global.json {
            output::line("as before; nothing written");
        }
        return show(session, item, false, warning).await;
    }
    if item.policy.is_some() && item.policy != old.and_then(|old| old.policy.clone()) {
        check_policy(&Fleet::of_policies(&session.vault).await?, item.policy.as_ref())?;
    }
    refuse_shortening(session, newest > 0, std::slice::from_ref(&item)).await?;
    session.vault.write_item_after(&item, newest).await?;
    show(session, item, false, warning).await
}

/// Whether two records say the same of a machine, whenever they were written.
pub fn is_same(one: &Item, other: &Item) -> bool {
    Item { written: other.written, ..one.clone() } == *other
}

/// Refuses a policy that does not exist.
pub fn check_policy(rules: &Fleet, policy: Option<&PolicyName>) -> Result<()> {
    match policy.filter(|policy| !rules.policies.contains_key(*policy)) {
        Some(policy) => Err(Error::missing(format!("there is no policy {policy} in this vault; see `stillpoint policy list`"))),
        None => Ok(()),
    }
}

/// Refuses changes of machines by which an immutable vault would keep points for less long. `existing` says that some of them may
/// have points.
pub async fn refuse_shortening(session: &Session, existing: bool, items: &[Item]) -> Result<()> {
    if !existing || session.vault.settings().await?.immutability == Immutability::Off {
        return Ok(());
    }
    let fleet = Fleet::load(&session.vault).await?;
    fleet.refuse_shortening(&session.vault, &fleet.with_items(items.iter().cloned())).await
}

/// Shows a machine with its policy and its next run; `exact` has it look at the other machines where that decides when.
async fn show(session: &Session, item: Item, exact: bool, warning: Option<String>) -> Result<ExitCode> {
    let mut fleet = Fleet::of_policies(&session.vault).await?;
    let damaged: Vec<String> = super::policy::damages(&fleet).collect();
    fleet = fleet.with_item(&item);
    let is_spread = |fleet: &Fleet| {
        let record = fleet.member(&item.name).and_then(|member| fleet.policy_of(member));
        record.is_some_and(|record| record.policy.schedules.iter().any(|schedule| schedule.window.is_some()))
    };
    let exact = exact && is_spread(&fleet);
    if exact {
        fleet = Fleet::load(&session.vault).await?;
    }
    let member = fleet.member(&item.name).ok_or_else(|| Error::internal("a machine is missing in its own fleet"))?;
    let run = match fleet.policy_of(member) {
        Some(record) => runs::of_machine(member, record, exact, session.vault.clock().now(), 1)?.pop(),
        None => None,
    };
    let warnings: Vec<String> = warning.into_iter().chain(damaged).chain(member.unclear()).collect();
    if session.global.json {
        let mut document = document(member)?;
        document["next_run"] = run.as_ref().map_or(Value::Null, Run::document);
        document["warnings"] = json!(warnings);
        output::json(&document)?;
    } else {
        tell(member, run.as_ref());
    }
    Ok(ended_with(session, &warnings))
}

/// The machine's record, and what follows for it from the policies.
fn document(member: &Member) -> Result<Value> {
    let mut document =
        serde_json::to_value(&member.item).map_err(|error| Error::internal("cannot write JSON").with_source(error))?;
    let conflict: &[PolicyName] = if let Assignment::Conflict(names) = &member.assignment { names } else { &[] };
    document["settings"] = json!(member.item.settings);
    document["tags"] = json!(member.item.tags);
    document["policy"] = json!(member.item.policy);
    document["protection"] = json!(member.item.protection);
    document["follows"] = json!(member.policy());
    document["in_conflict"] = json!(conflict);
    Ok(document)
}

fn tell(member: &Member, run: Option<&Run>) {
    let item = &member.item;
    output::line(&format!("{} on {} ({})", item.name, item.platform, item.site));
    output::line(&format!("policy: {}", policy_of(member)));
    if !item.tags.is_empty() {
        output::line(&format!("tags: {}", tags_of(item)));
    }
    if !member.is_active() {
        output::line(&format!("protection: {}", protection(item)));
    }
    if let Some(run) = run {
        output::line(&format!("next backup: {}", run.line()));
    }
    for (name, value) in &item.settings {
        output::line(&format!("{name}: {}", value.trim()));
    }
    let rows = item.disks.iter().map(|disk| vec![disk.name.to_string(), disk.location.clone()]).collect();
    output::table(&["DISK", "PATH"], rows);
}

fn policy_of(member: &Member) -> String {
    match &member.assignment {
        Assignment::None => "none".to_owned(),
        Assignment::Policy(name) => name.to_string(),
        Assignment::Conflict(names) => {
            format!("conflict of {}", names.iter().map(PolicyName::as_str).collect::<Vec<_>>().join(", "))
        }
        Assignment::Unknown(name) => format!("{name}, which does not exist"),
    }
}

fn tags_of(item: &Item) -> String {
    item.tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
}

fn protection(item: &Item) -> String {
    match &item.protection {
        Protection::Active => "active".to_owned(),
        Protection::Retained { .. } => "stopped, points retained".to_owned(),
        Protection::Deleted { until, .. } => format!("stopped, deleted; undelete before {until}"),
    }
}

async fn list(session: &Session) -> Result<ExitCode> {
    let fleet = Fleet::load(&session.vault).await?;
    let warnings: Vec<String> = super::policy::damages(&fleet).chain(fleet.members.iter().filter_map(Member::unclear)).collect();
    if session.global.json {
        let machines = fleet.members.iter().map(document).collect::<Result<Vec<Value>>>()?;
        output::json(&json!({ "machines": machines, "warnings": warnings }))?;
    } else {
        let names = |item: &Item| item.disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>().join(", ");
        let row = |member: &Member| {
            let item = &member.item;
            let (platform, site) = (item.platform.clone(), item.site.clone());
            vec![item.name.to_string(), policy_of(member), protection(item), tags_of(item), platform, site, names(item)]
        };
        let heads = ["MACHINE", "POLICY", "PROTECTION", "TAGS", "PLATFORM", "SITE", "DISKS"];
        output::table(&heads, fleet.members.iter().map(row).collect());
    }
    Ok(ended_with(session, &warnings))
}
