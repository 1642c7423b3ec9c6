//! A drill that can begin: its vault is open, and its machines are known.

use std::collections::BTreeMap;

use stillpoint_model::{Error, ItemName, Result};

use super::{
    notes::Last,
    plan::{Choice, Drill, due},
};
use crate::{args::Global, remote, session::Session};

pub struct Prepared {
    pub drill: Drill,
    /// Over the vault that is restored from.
    pub session: Session,
    /// All that the drill is about.
    pub all: Vec<ItemName>,
    /// Those whose turn it is, and those that failed the last time.
    pub machines: Vec<ItemName>,
}

impl Prepared {
    /// Refuses what can be refused before anything is restored.
    pub async fn new(global: Global, drill: Drill, failing: &BTreeMap<ItemName, Last>) -> Result<Self> {
        let session = Session::open_from(global, drill.from.as_deref()).await?;
        refuse_elsewhere(&session)?;
        let all = drill.all(&session).await?;
        let one_in = match &drill.choice {
            Choice::Names(_) => 1,
            Choice::Planned(entry) => entry.one_in,
        };
        let machines = due(&all, one_in, session.vault.clock().now(), |name| failing.contains_key(name));
        Ok(Self { drill, session, all, machines })
    }
}

/// The checks are done here, so the disks must be.
fn refuse_elsewhere(session: &Session) -> Result<()> {
    let site = remote::site(&session.global)?;
    if session.remote.is_some() && !remote::is_here(&site) {
        return Err(Error::invalid(format!("a drill checks disks where they are; run it at site {}", site.as_str())));
    }
    Ok(())
}
