//! The paired region: `vault pair`, `vault promote`, `replicate`.

use std::process::ExitCode;

use serde_json::json;
use stillpoint_handler::Functions;
use stillpoint_jobs::Operation;
use stillpoint_model::{Error, ErrorKind, ItemName, JobState, Requests, Result};
use stillpoint_store::{Access, Store};
use stillpoint_vault::{Role, Wanted};

use super::{
    ended_with, outcome_of,
    relay::{self, News},
};
use crate::{
    args::{Global, Pair},
    failure, output,
    session::{Session, system, vault_url},
};

/// Makes a pair, or changes one.
pub async fn pair(session: &Session, args: Pair) -> Result<ExitCode> {
    if let Some(policy) = &args.retention {
        session.vault.policy(policy).await?;
    }
    let target_seconds = u32::try_from(args.target.as_secs())
        .ok()
        .filter(|seconds| *seconds >= 60)
        .ok_or_else(|| Error::invalid("--target is a minute at least and a hundred years at most"))?;
    let url = vault_url(&Global { vault: Some(args.url), ..session.global.clone() })?;
    let own = vault_url(&session.global)?;
    let store = Store::open(&url, Access::Create, system().0)?;
    let replica = session.vault.pair(store, &url, &own, Wanted { target_seconds, retention: args.retention }).await?;
    if session.global.json {
        output::json(&json!({ "vault": session.vault.identity().id, "replica": url, "target_seconds": target_seconds }))?;
    } else {
        let place = replica.store().url();
        output::line(&format!("paired with {place}; `stillpoint replicate` fills it now, `stillpoint serve` as points are made"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a replica the vault that backups go to.
pub async fn promote(session: &Session, yes: bool) -> Result<ExitCode> {
    let pairing = session.vault.pairing().await?;
    if !yes && let Some(pairing) = pairing.filter(|pairing| pairing.role == Role::Replica) {
        let answers = match session.regions().open(&pairing.other) {
            Ok(store) => session.vault.twin(store).await.is_ok(),
            Err(_) => false,
        };
        if answers {
            return Ok(failure::misuse(&format!(
                "the primary at {} answers: points made there from now on would be in no replica; end its backups, copy the last ones with `stillpoint replicate`, then give --yes",
                pairing.other
            )));
        }
    }
    session.vault.promote().await?;
    // Of jobs that copy, each sees the promotion or is seen here.
    let mut stopped = Vec::new();
    for id in session.engine.unfinished().await? {
        let job = match session.engine.job(id).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            Err(_) => continue,
            Ok(job) => job,
        };
        if !matches!(job.request.what, Operation::Replicate { .. }) {
            continue;
        }
        match session.engine.stop(id, JobState::Cancelled, "the vault was promoted").await {
            Ok(_) => stopped.push(id),
            // It is making visible what it has copied whole, or has ended.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(error),
        }
    }
    if session.global.json {
        output::json(&json!({ "vault": session.vault.identity().id, "role": "promoted", "jobs_stopped": stopped }))?;
    } else {
        output::line("promoted: backups may go to this vault now; nothing is copied to it any more");
        output::line(
            "put its URL where the primary's was (STILLPOINT_VAULT), and give it a replica with `stillpoint vault pair`",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// What several jobs of a command came to.
#[derive(Default)]
struct Copied {
    jobs: Vec<stillpoint_model::JobId>,
    points: u64,
    records: u64,
    packs: u64,
    moved_bytes: u64,
    left: u64,
    requests: Requests,
    warnings: Vec<String>,
}

/// Copies what the replica lacks, and sees it to its end.
pub async fn replicate(session: &Session, name: Option<ItemName>) -> Result<ExitCode> {
    let none = || Error::invalid("this vault has no replica; give it one with `stillpoint vault pair --with URL`");
    let pairing = session.vault.pairing().await?.ok_or_else(none)?;
    if pairing.role == Role::Promoted {
        return Err(Error::invalid("this vault was promoted: nothing is copied to it any more"));
    }
    let primary = stillpoint_vault::Pair::joined(&session.vault, &pairing, &*session.regions()).await?.primary;
    let other;
    let replica = if pairing.role == Role::Primary {
        other = session.other(&pairing).await?;
        &other
    } else {
        session
    };
    if let Some(name) = &name
        && primary.point_ids(name).await?.is_empty()
    {
        // Tells a machine without points from a name that was mistyped.
        primary.item(name).await?;
    }
    let mut copied = Copied::default();
    loop {
        let job = replica.task(Operation::Replicate { item: name.clone(), records: copied.jobs.is_empty() }).await?;
        let outcome = outcome_of(&job)?;
        let count = |name: &str| outcome.counts.get(name).copied().unwrap_or(0);
        copied.jobs.push(job.id);
        copied.points += count("points");
        copied.records += count("records");
        copied.packs += count("packs");
        copied.moved_bytes += count("moved_bytes");
        copied.left = count("points_left");
        copied.requests += outcome.requests;
        copied.warnings.extend(outcome.warnings.iter().cloned());
        if copied.left == 0 || count("points") == 0 {
            break;
        }
    }
    copied.warnings.sort();
    copied.warnings.dedup();
    report(replica, &copied)
}

fn report(replica: &Session, copied: &Copied) -> Result<ExitCode> {
    if replica.global.json {
        output::json(&json!({
            "replica": replica.vault.store().url(),
            "jobs": copied.jobs,
            "points": copied.points,
            "points_left": copied.left,
            "records": copied.records,
            "packs": copied.packs,
            "moved_bytes": copied.moved_bytes,
            "requests": copied.requests,
            "warnings": copied.warnings,
        }))?;
    } else {
        output::line(&format!(
            "{} points copied to {}: {} packs, {}",
            copied.points,
            replica.vault.store().url(),
            copied.packs,
            output::bytes(copied.moved_bytes)
        ));
    }
    Ok(ended_with(replica, &copied.warnings))
}

/// The functions of the replica, run by the process that runs those of its primary and hears of their points.
pub async fn serve_other(session: &Session, wanted: &super::serve::Wanted, mut news: News) {
    loop {
        match other_of_primary(session).await {
            Ok(Some(other)) => {
                tracing::info!(replica = other.vault.store().url(), "serving its replica, too");
                let followed = relay::follow(&other, &mut news);
                if let Err(error) = super::serve::forever(&other, wanted, Functions::default(), followed).await {
                    tracing::error!("{}", error.one_line());
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("its replica cannot be served: {}", error.one_line()),
        }
        tokio::time::sleep(wanted.tick).await;
    }
}

async fn other_of_primary(session: &Session) -> Result<Option<Session>> {
    match session.vault.pairing().await? {
        Some(pairing) if pairing.role == Role::Primary => session.other(&pairing).await.map(Some),
        _ => Ok(None),
    }
}
