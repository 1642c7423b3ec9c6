//! What holds for the whole vault.

use std::process::ExitCode;

use stillpoint_model::{Immutability, Result};
use stillpoint_vault::{Pairing, Role, Settings};

use crate::{
    args::{Limit, Settings as Wanted},
    failure, output,
    session::Session,
};

/// Changes settings; what is not named stays.
pub async fn set(session: &Session, wanted: Wanted) -> Result<ExitCode> {
    if wanted.immutability == Some(Immutability::Locked) && !wanted.yes {
        return Ok(failure::misuse(
            "locking is for good: no key and nobody takes it back, and no point goes before its time is up; if that is what you want, give --yes",
        ));
    }
    let now = session.vault.clock().now();
    let changed = session.vault.change_settings(|settings| apply(settings, wanted, now)).await?;
    if session.global.json {
        output::json(&changed)?;
    } else {
        rows(&changed).iter().for_each(|row| output::line(row));
    }
    Ok(ExitCode::SUCCESS)
}

fn apply(settings: &mut Settings, wanted: Wanted, now: jiff::Timestamp) {
    settings.immutability = wanted.immutability.unwrap_or(settings.immutability);
    settings.undelete_days = wanted.undelete_days.unwrap_or(settings.undelete_days);
    settings.verify_days = wanted.verify_days.unwrap_or(settings.verify_days);
    if let Some(Limit(limit)) = wanted.concurrent {
        settings.concurrent = limit;
    }
    for (site, Limit(limit)) in wanted.site_concurrent {
        match limit {
            Some(limit) => drop(settings.sites.insert(site, limit)),
            None => drop(settings.sites.remove(&site)),
        }
    }
    if wanted.confirm_clock {
        settings.clock_confirmed = Some(now);
    }
}

fn pair_row(pairing: &Pairing) -> String {
    let Pairing { role, other, target_seconds, retention } = pairing;
    let target = jiff::SignedDuration::from_secs(i64::from(*target_seconds));
    let keeps = retention.as_ref().map_or_else(String::new, |policy| format!(", kept there by policy {policy}"));
    match role {
        Role::Primary => format!("replica    {other}, within {target:#}{keeps}"),
        Role::Replica => format!("primary    {other}; this is its replica, within {target:#}{keeps}"),
        Role::Promoted => format!("promoted   once the replica of {other}"),
    }
}

/// The settings as lines on screen.
pub fn rows(settings: &Settings) -> Vec<String> {
    let limit = |limit: Option<u32>| limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
    let sites = settings.sites.iter().map(|(site, limit)| format!(", {limit} at {site}")).collect::<String>();
    let mut rows = vec![
        format!("immutable  {}", settings.immutability),
        format!("undelete   within {} days", settings.undelete_days),
        format!("verify     every byte within {} days", settings.verify_days),
        format!("at a time  {}{sites} scheduled backups", limit(settings.concurrent)),
    ];
    rows.extend(settings.pairing.iter().map(pair_row));
    rows.extend(settings.clock_confirmed.map(|at| format!("clock      confirmed {at:.0}")));
    rows
}
