use std::{process::Stdio, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use stillpoint_model::{Error, ErrorKind, Result};
use tokio::{process::Command, time::timeout};

use crate::agent::Transport;

const PROGRAM: &str = "virsh";
/// Until a command is answered; libvirt itself waits 30 s for a domain that is busy.
const ANSWER: Duration = Duration::from_secs(60);
/// Beyond what the agent is given, for libvirt and its client.
const AGENT_MORE: Duration = Duration::from_secs(5);
const ERROR_CHARS_MAX: usize = 500;

/// libvirt at one address, asked through its command-line client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Virsh {
    uri: String,
}

impl Virsh {
    /// For this address, which was checked.
    pub(crate) fn new(uri: &str) -> Self {
        Self { uri: uri.to_owned() }
    }

    /// The address.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// Runs a command and returns what it prints.
    ///
    /// # Errors
    /// `missing` without the domain, `denied`, `unavailable` when the program is not there, libvirt does not answer, or the domain is busy;
    /// `conflict` when libvirt refuses, in its words.
    pub(crate) async fn run(&self, words: &[&str]) -> Result<String> {
        self.run_within(words, ANSWER).await
    }

    async fn run_within(&self, words: &[&str], within: Duration) -> Result<String> {
        let command = words.first().copied().unwrap_or_default();
        let mut client = Command::new(PROGRAM);
        client.args(["-q", "-c", &self.uri]).args(words).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
        let ended = timeout(within, client.output())
            .await
            .map_err(|_| Error::unavailable(format!("libvirt does not answer {command} within {} s", within.as_secs())))?
            .map_err(|error| {
                // Not missing: that is said of a domain.
                Error::unavailable(format!("{PROGRAM} cannot be started (install libvirt-clients)")).with_source(error)
            })?;
        if ended.status.success() {
            return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
        }
        Err(refusal(command, &String::from_utf8_lossy(&ended.stderr)))
    }
}

fn refusal(command: &str, said: &str) -> Error {
    let lines: Vec<&str> =
        said.lines().map(|line| line.trim_start_matches("error: ").trim()).filter(|line| !line.is_empty()).collect();
    let text: String =
        lines.join(": ").chars().take(ERROR_CHARS_MAX).map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let has = |part: &str| said.contains(part);
    let kind = if has("failed to get domain") || has("Domain not found") {
        ErrorKind::Missing
    } else if has("ermission denied") || has("authentication") || has("access denied") {
        ErrorKind::Denied
    } else if has("failed to connect") || has("Timed out") || has("not responding") || has("End of file") {
        ErrorKind::Unavailable
    } else {
        ErrorKind::Conflict
    };
    Error::new(kind, format!("libvirt refused {command}: {text}"))
}

/// The agent of a domain's guest, through libvirt, which lets one ask after the other and gets in step by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DomainAgent {
    pub(super) virsh: Virsh,
    pub(super) domain: String,
}

#[async_trait]
impl Transport for DomainAgent {
    async fn request(&mut self, request: &Value, within: Duration) -> Result<Value> {
        let seconds = within.as_secs().max(1).to_string();
        let words = ["qemu-agent-command", &self.domain, &request.to_string(), "--timeout", &seconds];
        let answer = self.virsh.run_within(&words, within + AGENT_MORE).await?;
        serde_json::from_str(&answer)
            .map_err(|error| Error::internal("the guest agent answers in an unknown form").with_source(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let refused = [
            (
                "error: failed to get domain 'nope'\n\n",
                ErrorKind::Missing,
                "libvirt refused domstate: failed to get domain 'nope'",
            ),
            (
                "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/run/l': No such file or directory\n",
                ErrorKind::Unavailable,
                "libvirt refused domstate: failed to connect to the hypervisor: Failed to connect socket to '/run/l': No such file or directory",
            ),
            (
                "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/run/l': Permission denied\n",
                ErrorKind::Denied,
                "Permission denied",
            ),
            (
                "error: Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainBackupBegin)\n",
                ErrorKind::Unavailable,
                "cannot acquire state change lock",
            ),
            (
                "error: Guest agent is not responding: QEMU guest agent is not connected\n",
                ErrorKind::Unavailable,
                "not connected",
            ),
            (
                "error: checkpoint inconsistent: missing or broken bitmap 'c2' for disk 'vda'\n",
                ErrorKind::Conflict,
                "missing or broken bitmap 'c2'",
            ),
        ];
        for (said, kind, text) in refused {
            let error = refusal("domstate", said);
            assert_eq!(error.kind(), kind, "{said}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
