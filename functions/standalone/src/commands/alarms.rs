//! What is wrong, and what did not happen.

mod timer;

use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::{Value, json};
use stillpoint_model::{AlarmKey, AlarmState, Error, ErrorKind, JobId, PointId, Result};
use stillpoint_vault::{Alarm, Vault};

use crate::{failure, output, session::Session};

/// An alarm, or a record of one, as it is shown.
struct Shown {
    alarm: AlarmKey,
    state: AlarmState,
    at: Option<Timestamp>,
    text: String,
    job: Option<JobId>,
    points: Vec<PointId>,
    /// Somebody was told; nobody can be told of what nobody recorded.
    told: Option<bool>,
}

pub async fn run(session: &Session, all: bool) -> Result<ExitCode> {
    let vault = &session.vault;
    let mut open = open(vault).await?;
    open.extend(timer::stopped(vault).await?);
    let history = if all { history(vault).await? } else { Vec::new() };
    if session.global.json {
        let mut document = json!({ "open": open.iter().map(document).collect::<Vec<Value>>() });
        if all {
            document["history"] = history.iter().map(document_of_record).collect();
        }
        output::json(&document)?;
    } else {
        let shown = if all { &history } else { &open };
        print(shown, all);
        if all {
            // Nobody records it, so it is in no history.
            open.iter().filter(|shown| shown.told.is_none()).for_each(|shown| output::line(&shown.text));
        }
    }
    Ok(if open.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(failure::WARNINGS) })
}

/// The alarms that are open, by kind and subject.
async fn open(vault: &Vault) -> Result<Vec<Shown>> {
    let alarms = vault.alarms().await?;
    let mut open = Vec::new();
    for (key, seq) in alarms.open() {
        let told = alarms.0.get(key).is_some_and(|standing| standing.told);
        open.push(Shown { told: Some(told), ..read(vault, key, seq, AlarmState::Raised).await? });
    }
    Ok(open)
}

/// All records of all alarms, oldest first.
async fn history(vault: &Vault) -> Result<Vec<Shown>> {
    let mut history = Vec::new();
    for (key, seq, state) in vault.alarm_records().await? {
        history.push(read(vault, &key, seq, state).await?);
    }
    history.sort_by_key(|shown| shown.at);
    Ok(history)
}

/// An alarm whose record cannot be read is one all the same.
async fn read(vault: &Vault, key: &AlarmKey, seq: u32, state: AlarmState) -> Result<Shown> {
    let shown = |at, text, job, points| Shown { alarm: key.clone(), state, at, text, job, points, told: None };
    match vault.alarm(key, seq, state).await {
        Ok(Alarm { at, text, job, points, .. }) => Ok(shown(Some(at), text, job, points)),
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        Err(error) => Ok(shown(None, unreadable(&error), None, Vec::new())),
    }
}

fn unreadable(error: &Error) -> String {
    format!("its record cannot be read: {}", error.one_line())
}

fn time(at: Option<Timestamp>) -> String {
    at.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default()
}

fn print(shown: &[Shown], all: bool) {
    if shown.is_empty() {
        output::line(if all { "there never was an alarm" } else { "no alarm is open" });
        return;
    }
    let row = |shown: &Shown| {
        let last = match shown.told {
            _ if all => shown.state.to_string(),
            Some(true) => "yes".to_owned(),
            Some(false) => "no".to_owned(),
            None => String::new(),
        };
        let points = if shown.points.is_empty() { String::new() } else { shown.points.len().to_string() };
        let job = shown.job.map(|job| job.to_string()).unwrap_or_default();
        vec![time(shown.at), shown.alarm.kind.to_string(), shown.alarm.subject.to_string(), last, points, job, shown.text.clone()]
    };
    let (when, last) = if all { ("AT", "STATE") } else { ("SINCE", "TOLD") };
    output::table(&[when, "ALARM", "SUBJECT", last, ">POINTS", "JOB", "TEXT"], shown.iter().map(row).collect());
}

fn fields(shown: &Shown, when: &str) -> Value {
    json!({
        "alarm": shown.alarm.kind,
        "subject": shown.alarm.subject,
        when: shown.at.map(|at| format!("{at:.3}")),
        "text": shown.text,
        "job": shown.job,
        "points": shown.points,
    })
}

fn document(shown: &Shown) -> Value {
    let mut document = fields(shown, "since");
    document["told"] = shown.told.into();
    document
}

fn document_of_record(shown: &Shown) -> Value {
    let mut document = fields(shown, "at");
    document["state"] = shown.state.as_str().into();
    document
}
