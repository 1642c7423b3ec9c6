//! `requester`: who else may order restores.

mod key;

use std::{collections::BTreeSet, process::ExitCode};

use serde_json::{Value, json};
use stillpoint_model::{Error, RequesterName, Result};
use stillpoint_vault::Requester;

pub use key::signing_key;

use super::ended_with;
use crate::{
    args::{self, RequesterAdd},
    output,
    session::Session,
};

pub async fn run(session: &Session, command: args::Requester) -> Result<ExitCode> {
    match command {
        args::Requester::Add(wanted) => add(session, wanted).await,
        args::Requester::Revoke { name } => revoke(session, &name).await,
        args::Requester::List => list(session).await,
    }
}

async fn add(session: &Session, wanted: RequesterAdd) -> Result<ExitCode> {
    let made = wanted.new_key.as_deref().map(key::make).transpose()?;
    let public_key = match (&made, &wanted.public_key) {
        (Some(made), _) => made.public(),
        (None, Some(path)) => key::public(path)?,
        (None, None) => return Err(Error::invalid("which key? give --public-key or --new-key")),
    };
    let requester = Requester {
        name: wanted.name,
        public_key,
        machines: (!wanted.any_machine).then(|| wanted.machine.into_iter().collect::<BTreeSet<_>>()),
        places: wanted.place,
        overwrite: wanted.may_overwrite,
        revoked: false,
        written: session.vault.clock().now(),
    };
    session.vault.write_requester(&requester, wanted.replace).await?;
    if let Some(made) = made {
        made.keep();
    }
    said(session, &requester, "may order restores")
}

async fn revoke(session: &Session, name: &RequesterName) -> Result<ExitCode> {
    let known = session.vault.requester(name).await?;
    let requester = Requester { revoked: true, written: session.vault.clock().now(), ..known };
    session.vault.write_requester(&requester, true).await?;
    said(session, &requester, "may order nothing any more")
}

fn said(session: &Session, requester: &Requester, what: &str) -> Result<ExitCode> {
    if session.global.json {
        output::json(&document(requester))?;
    } else {
        output::line(&format!("requester {} {what}", requester.name));
    }
    Ok(ExitCode::SUCCESS)
}

fn document(requester: &Requester) -> Value {
    json!({
        "name": requester.name,
        "public_key": requester.public_key,
        "machines": requester.machines,
        "places": requester.places,
        "may_overwrite": requester.overwrite,
        "revoked": requester.revoked,
        "written": requester.written,
    })
}

async fn list(session: &Session) -> Result<ExitCode> {
    let (mut known, mut warnings) = (Vec::new(), Vec::new());
    for (name, read) in session.vault.requesters().await? {
        match read {
            Ok(requester) => known.push(requester),
            Err(error) => warnings.push(format!("requester {name} cannot be read: {}", error.one_line())),
        }
    }
    if session.global.json {
        let documents: Vec<Value> = known.iter().map(document).collect();
        output::json(&json!({ "requesters": documents, "warnings": warnings }))?;
    } else {
        output::table(&["REQUESTER", "MACHINES", "PLACES", "OVERWRITES", ""], known.iter().map(row).collect());
    }
    Ok(ended_with(session, &warnings))
}

fn row(requester: &Requester) -> Vec<String> {
    let machines = |names: &BTreeSet<_>| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    vec![
        requester.name.to_string(),
        requester.machines.as_ref().map_or_else(|| "all".to_owned(), machines),
        requester.places.join(" "),
        if requester.overwrite { "yes" } else { "no" }.to_owned(),
        if requester.revoked { "revoked" } else { "" }.to_owned(),
    ]
}
