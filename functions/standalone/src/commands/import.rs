use std::{collections::BTreeMap, path::Path, process::ExitCode, time::Instant};

use serde_json::json;
use stillpoint_fleet::{Fleet, Member};
use stillpoint_model::{DiskName, Error, ErrorKind, ItemName, Result};
use stillpoint_policy_file::{MACHINES_BYTES_MAX, MachineEntry, machines_from_toml};
use stillpoint_ports::DiskSource;
use stillpoint_vault::Item;

use super::{
    ended_with,
    machine::{check_policy, inspect, is_same, refuse_shortening},
};
use crate::{disks, input, output, remote, session::Session};

/// What a file comes to.
#[derive(Default)]
struct Import {
    /// Records to be written, each behind the one with this number.
    writes: Vec<(Item, u32)>,
    unchanged: usize,
    /// By line, what is wrong.
    faults: Vec<(usize, ItemName, String)>,
}

pub async fn run(session: &Session, file: &Path, replace: bool) -> Result<ExitCode> {
    let began = Instant::now();
    let text = input::text(file, MACHINES_BYTES_MAX)?;
    let entries = machines_from_toml(&text).map_err(|error| Error::from(error).context(input::shown(file)))?;
    let rules = Fleet::of_policies(&session.vault).await?;
    let import = Import::of(session, &rules, entries, replace).await?;
    import.refuse_faults(&input::shown(file))?;
    let changed = import.writes.iter().filter(|(_, newest)| *newest > 0).count();
    let items: Vec<Item> = import.writes.iter().map(|(item, _)| item.clone()).collect();
    refuse_shortening(session, changed > 0, &items).await?;
    session.vault.write_items_after(&import.writes).await?;
    let added = import.writes.len() - changed;
    let fleet = rules.with_items(items);
    let warnings: Vec<String> = super::policy::damages(&rules).chain(fleet.members.iter().filter_map(Member::unclear)).collect();
    let requests = session.vault.store().requests();
    if session.global.json {
        output::json(&json!({
            "added": added,
            "changed": changed,
            "unchanged": import.unchanged,
            "requests": requests,
            "duration_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "warnings": warnings,
        }))?;
    } else {
        output::line(&format!("{added} machines added, {changed} changed, {} as they were", import.unchanged));
    }
    Ok(ended_with(session, &warnings))
}

impl Import {
    /// Looks at everything before anything is written; one listing, and one read of each machine of the file that exists.
    async fn of(session: &Session, rules: &Fleet, entries: Vec<MachineEntry>, replace: bool) -> Result<Self> {
        let vault = &session.vault;
        let site = remote::site(&session.global)?;
        let numbers = vault.item_numbers().await?;
        let known: Vec<(ItemName, u32)> =
            entries.iter().filter_map(|entry| Some((entry.name.clone(), *numbers.get(&entry.name)?))).collect();
        let mut existing: BTreeMap<ItemName, Result<Item>> = vault.read_items(known).await.into_iter().collect();
        let mut import = Self::default();
        for entry in entries {
            let (line, name) = (entry.line, entry.name.clone());
            let newest = numbers.get(&name).copied().unwrap_or(0);
            let old = existing.remove(&name);
            let outcome = match record(entry, site.as_str(), vault.clock().now()) {
                Ok(item) => examine(session, rules, item, old, replace).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(Some(item)) => import.writes.push((item, newest)),
                Ok(None) => import.unchanged += 1,
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(error) => import.faults.push((line, name, error.one_line())),
            }
        }
        Ok(import)
    }

    fn refuse_faults(&self, file: &str) -> Result<()> {
        let Some((line, name, reason)) = self.faults.first() else { return Ok(()) };
        let more = match self.faults.len() - 1 {
            0 => String::new(),
            more => {
                let lines: Vec<String> = self.faults.iter().skip(1).take(5).map(|(line, ..)| line.to_string()).collect();
                let dots = if more > lines.len() { ", …" } else { "" };
                format!("; faults in {more} more machines (lines {}{dots})", lines.join(", "))
            }
        };
        Err(Error::invalid(format!("{file}: line {line}: machine {name}: {reason}{more}; nothing was written")))
    }
}

/// The record that a machine of the file is to have.
fn record(entry: MachineEntry, site: &str, written: jiff::Timestamp) -> Result<Item> {
    let source = |(name, path): (DiskName, String)| Ok(DiskSource { name, location: disks::location(path.as_ref())? });
    let sources = entry.disks.into_iter().map(source).collect::<Result<Vec<DiskSource>>>()?;
    let mut item = Item::new(entry.name, &entry.platform, site, sources, written);
    item.settings = entry.settings;
    item.tags = entry.tags;
    item.policy = entry.policy;
    Ok(item)
}

/// What is to be written of a machine, if anything.
async fn examine(
    session: &Session,
    rules: &Fleet,
    mut item: Item,
    old: Option<Result<Item>>,
    replace: bool,
) -> Result<Option<Item>> {
    check_policy(rules, item.policy.as_ref())?;
    let exists = old.is_some();
    // A damaged record can be replaced; one that only cannot be read now must not be.
    let old = match old {
        Some(Err(error)) if error.kind() != ErrorKind::Corrupt => return Err(error),
        old => old.and_then(Result::ok),
    };
    if let Some(old) = &old {
        item.protection = old.protection.clone();
        let found = item.disks.is_empty() && item.platform == old.platform;
        let known = Item { disks: if found { old.disks.clone() } else { item.disks.clone() }, ..item.clone() };
        let in_order = |item: &Item| {
            let mut item = item.clone();
            item.disks.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            item
        };
        if is_same(&in_order(old), &in_order(&known)) {
            return Ok(None);
        }
    }
    if exists && !replace {
        return Err(Error::conflict("it exists and is described otherwise; give --replace to change it"));
    }
    inspect(session, &mut item).await?;
    item.check()?;
    Ok(Some(item))
}
