//! A restore that another system has ordered, carried out by this command.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::json;
use stillpoint_model::{Error, Result};
use stillpoint_restore::{ORDER_BYTES_MAX, Order, accept};
use stillpoint_runtime::{Begun, JobLock};

use super::{make_folder, report};
use crate::{disks, input, interrupt::Interrupt, session::Session};

/// Carries an order out as the function does. The same order again says what became of it.
pub async fn run(session: &Session, file: &Path) -> Result<ExitCode> {
    // What ends a line counts, too.
    let token = input::text(file, ORDER_BYTES_MAX + 2)?;
    let order = Order::open(&session.vault, &token).await?;
    let mut interrupt = Interrupt::listen()?;
    session.take_on_unfinished(&mut interrupt).await?;
    let id = order.job()?;
    let lock = match session.remote {
        None => Some(JobLock::try_acquire(id)?.ok_or_else(|| {
            Error::conflict(format!(
                "another process of this host works on job {id}; wait for it with `stillpoint jobs watch {id}`"
            ))
        })?),
        Some(_) => None,
    };
    let folder = PathBuf::from(&order.to);
    let _made = if session.remote.is_none() && !disks::is_store(&folder) { Some(make_folder(&folder)?) } else { None };
    let job = accept(&session.engine, session.place(), &order).await?;
    let job = if job.state().is_end() {
        job
    } else {
        let begun = Begun { events: vec![job.requested()], job, lock };
        let ended = session.complete(vec![begun], &mut interrupt).await?.pop();
        ended.ok_or_else(|| Error::internal("a job has no result"))?
    };
    report(session, &job, json!({ "order": { "requester": order.iss, "id": order.jti } }), &[])
}
