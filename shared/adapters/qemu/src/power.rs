//! Whether a machine is on, and how it is powered down.

use std::{path::Path, time::Duration};

use serde::Deserialize;
use serde_json::json;
use stillpoint_model::{Error, ErrorKind, Result};
use tokio::time::{Instant, sleep};

use crate::{line::Lines, qmp::Qmp};

/// How long QEMU may take to end.
const ENDS: Duration = Duration::from_secs(5);
/// Between two looks at a guest that powers down.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
struct Status {
    status: String,
}

/// Whether something listens at a monitor's socket.
///
/// # Errors
/// `denied`, or another reason for which that cannot be told.
pub async fn is_on(path: &Path) -> Result<bool> {
    match Lines::connect("the QMP socket", path).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Missing => Ok(false),
        Err(error) => Err(error),
    }
}

/// Powers a machine down and waits until its monitor is gone. Its guest is asked to, and may take as long as `patience` says; without it
/// QEMU is ended at once.
///
/// # Errors
/// `conflict` when the guest does not power down in time; `unavailable` when another client holds the monitor.
pub async fn power_down(path: &Path, patience: Option<Duration>) -> Result<()> {
    let Some(mut qmp) = Qmp::connect_if_on(path).await? else { return Ok(()) };
    if let Some(patience) = patience {
        qmp.execute("system_powerdown", json!({})).await?;
        let until = Instant::now() + patience;
        loop {
            match qmp.query::<Status>("query-status", json!({})).await {
                // Started with -no-shutdown, QEMU stays after its guest.
                Ok(Status { status }) if status == "shutdown" => break,
                Ok(_) if Instant::now() < until => sleep(PAUSE).await,
                Ok(_) => {
                    return Err(Error::conflict(format!(
                        "the machine did not power down within {} s; stop it by hand, or give --stop=force, which does not ask its guest",
                        patience.as_secs()
                    )));
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => return gone(path).await,
                Err(error) => return Err(error),
            }
        }
    }
    match qmp.execute("quit", json!({})).await {
        // It may end before it answers.
        Err(error) if error.kind() != ErrorKind::Unavailable => Err(error),
        _ => gone(path).await,
    }
}

/// Waits until nothing listens at a monitor's socket.
async fn gone(path: &Path) -> Result<()> {
    let until = Instant::now() + ENDS;
    while is_on(path).await? {
        if Instant::now() >= until {
            return Err(Error::unavailable("QEMU does not end; end it by hand"));
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::{
        io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
        net::UnixListener,
    };

    use super::*;

    const ASK: Option<Duration> = Some(Duration::from_millis(300));

    /// A monitor whose machine does as `script` says to each command: the status that it has then, or none to end.
    async fn stopped(patience: Option<Duration>, script: &'static [Option<&'static str>]) -> (Result<()>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let listener = UnixListener::bind(&path).unwrap();
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            stream.write_all(b"{\"QMP\": {}}\n").await.unwrap();
            let mut asked = Vec::new();
            let mut script = script.iter().copied().cycle();
            let mut line = String::new();
            while stream.read_line(&mut line).await.unwrap() > 0 {
                let command: Value = serde_json::from_str(&line).unwrap();
                line.clear();
                let name = command["execute"].as_str().unwrap().to_owned();
                let status = if name == "qmp_capabilities" { Some("running") } else { script.next().unwrap() };
                asked.push(name);
                let Some(status) = status else { break };
                let answer = json!({ "return": { "status": status }, "id": command["id"] });
                stream.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
            }
            asked
        });
        let result = power_down(&path, patience).await;
        let mut asked = served.await.unwrap();
        asked.dedup();
        (result, asked.split_off(1))
    }

    #[tokio::test]
    async fn a_machine_that_powers_down_is_gone() {
        let (result, asked) = stopped(ASK, &[Some("running"), Some("running"), None]).await;
        result.unwrap();
        assert_eq!(asked, ["system_powerdown", "query-status"]);
        let (result, asked) = stopped(ASK, &[Some("running"), Some("shutdown"), None]).await;
        result.unwrap();
        assert_eq!(asked, ["system_powerdown", "query-status", "quit"]);
        let (result, asked) = stopped(None, &[None]).await;
        result.unwrap();
        assert_eq!(asked, ["quit"]);
    }

    #[tokio::test]
    async fn a_guest_that_does_not_listen_is_said() {
        let (result, _) = stopped(ASK, &[Some("running")]).await;
        let line = result.unwrap_err().one_line();
        assert!(line.contains("--stop=force"), "{line}");
    }
}
