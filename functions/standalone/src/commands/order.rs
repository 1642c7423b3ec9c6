//! `order`: what another system sends when it wants a restore.

use std::{process::ExitCode, sync::Arc};

use serde_json::json;
use stillpoint_events::{Envelope, Outgoing, RestoreOrdered};
use stillpoint_model::{Error, Result};
use stillpoint_ports::ulid;
use stillpoint_restore::{DiskFormat, LIFETIME_MAX, Order};
use stillpoint_store::{Access, Store};
use stillpoint_vault::Vault;

use super::requester::signing_key;
use crate::{
    args::{self, Format, Global},
    output,
    session::{system, vault_url},
};

/// Signs an order and prints it. Nothing of the vault is needed but its identity, which is no secret.
pub async fn run(global: &Global, wanted: args::Order) -> Result<ExitCode> {
    let valid_for = i64::try_from(wanted.valid_for.as_secs()).unwrap_or(i64::MAX);
    if valid_for > LIFETIME_MAX.as_secs() {
        return Err(Error::invalid(format!("an order is good for at most {} min; see --valid-for", LIFETIME_MAX.as_mins())));
    }
    let key = signing_key(&wanted.key)?;
    let (clock, random) = system();
    let store = Store::open(&vault_url(global)?, Access::Existing, Arc::clone(&clock))?;
    let (now, id) = (clock.now(), ulid(&*clock, &*random));
    let order = Order {
        iss: wanted.requester,
        aud: Vault::identify(&store).await?.id,
        jti: id.to_string(),
        iat: now.as_second(),
        exp: now.as_second() + valid_for,
        machine: wanted.name,
        point: wanted.point,
        to: wanted.to,
        format: if wanted.format == Format::Qcow2 { DiskFormat::Qcow2 } else { DiskFormat::Raw },
        overwrite: wanted.overwrite,
    };
    let job = order.job()?;
    let token = order.sign(&key);
    if wanted.event {
        let event = Outgoing::new(&RestoreOrdered { order: token });
        output::json(&Envelope::seal(event, id.to_string(), &format!("requester/{}", order.iss), now))?;
    } else if global.json {
        output::json(&json!({ "order": token, "job": job, "expires": order.exp }))?;
    } else {
        output::line(&token);
    }
    Ok(ExitCode::SUCCESS)
}
