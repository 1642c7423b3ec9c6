use std::process::ExitCode;

use serde_json::{Value, json};
use stillpoint_broker::{DeadLetter, DeadLetters};
use stillpoint_model::{Error, Result};

use crate::{
    args::{Chosen, Dead as Command, Global},
    output, remote,
};

pub async fn run(global: &Global, command: Option<Command>) -> Result<ExitCode> {
    let Some(broker) = remote::broker(global)? else {
        return Err(Error::invalid("which broker? give --broker amqp://user:password@host:port/vhost or set STILLPOINT_BROKER"));
    };
    let letters = DeadLetters::new(remote::publisher(broker, remote::site(global)?, "stillpoint/dead"));
    match command.unwrap_or(Command::List) {
        Command::List => list(global, &letters.list().await?)?,
        Command::Show { id } => show(&letters, &id).await?,
        Command::Redrive { which } => {
            told(global, "redriven", &which, &letters.redrive(|letter| which.holds(&letter.id)).await?)?;
        }
        Command::Drop { which } => told(global, "dropped", &which, &letters.discard(|letter| which.holds(&letter.id)).await?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn document(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id,
        "function": letter.function.as_str(),
        "type": letter.event_type,
        "job": letter.job,
        "queue": letter.queue,
        "reason": letter.reason,
        "body_bytes": letter.body.len(),
    })
}

fn list(global: &Global, letters: &[DeadLetter]) -> Result<()> {
    if global.json {
        return output::json(&json!({ "dead": letters.iter().map(document).collect::<Vec<Value>>() }));
    }
    let row = |letter: &DeadLetter| {
        let event = letter.event_type.clone().unwrap_or_else(|| "no event".to_owned());
        vec![letter.id.clone(), letter.function.to_string(), event, letter.job.clone().unwrap_or_default(), letter.reason.clone()]
    };
    output::table(&["ID", "FUNCTION", "EVENT", "JOB", "REASON"], letters.iter().map(row).collect());
    Ok(())
}

async fn show(letters: &DeadLetters, id: &str) -> Result<()> {
    let all = letters.list().await?;
    let letter = all.iter().find(|letter| letter.id == id).ok_or_else(|| unknown(id))?;
    let mut shown = document(letter);
    if let Value::Object(fields) = &mut shown {
        let body = serde_json::from_slice(&letter.body);
        fields.insert("body".to_owned(), body.unwrap_or_else(|_| String::from_utf8_lossy(&letter.body).into_owned().into()));
    }
    output::json(&shown)
}

fn told(global: &Global, what: &str, which: &Chosen, letters: &[DeadLetter]) -> Result<()> {
    if let Some(missing) = which.ids.iter().find(|id| letters.iter().all(|letter| letter.id != **id)) {
        return Err(unknown(missing));
    }
    if global.json {
        return output::json(&json!({ what: letters.iter().map(document).collect::<Vec<Value>>() }));
    }
    output::line(&format!("{} {what}", letters.len()));
    Ok(())
}

fn unknown(id: &str) -> Error {
    Error::missing(format!("there is no dead letter {}; see `stillpoint dead list`", id.escape_debug()))
}
