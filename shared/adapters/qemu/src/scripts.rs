use std::time::Duration;

use serde::Deserialize;
use stillpoint_model::{Error, Result};

use crate::agent::{Agent, Ended};

/// Longest that a script may take, in seconds.
const TIMEOUT_SECONDS_MAX: u64 = 1800;

/// What runs in the guest around a snapshot, in the fields that operators of other VM backups know.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Scripts {
    /// Always `ScriptRunner`, where it stands.
    plugin_name: Option<String>,
    /// Path in the guest.
    #[serde(default)]
    pre_script_location: String,
    /// Path in the guest.
    #[serde(default)]
    post_script_location: String,
    #[serde(default)]
    pre_script_params: Vec<String>,
    #[serde(default)]
    post_script_params: Vec<String>,
    /// How often a script that failed is run again.
    #[serde(default)]
    pre_script_no_of_retries: u8,
    #[serde(default)]
    post_script_no_of_retries: u8,
    /// For one run of one script.
    #[serde(default = "thirty")]
    timeout_in_seconds: u64,
    /// Whether there is a point, of lower consistency, where the pre-script fails.
    #[serde(default = "yes")]
    pub(crate) continue_backup_on_failure: bool,
    /// Whether file systems are frozen, too.
    #[serde(default = "yes")]
    pub(crate) fs_freeze_enabled: bool,
}

const fn thirty() -> u64 {
    30
}

const fn yes() -> bool {
    true
}

impl Scripts {
    /// Reads the JSON that describes them.
    ///
    /// # Errors
    /// `invalid`.
    pub(crate) fn read(text: &str) -> Result<Self> {
        let scripts: Self = serde_json::from_str(text).map_err(|error| Error::invalid(format!("setting scripts: {error}")))?;
        let paths = [("preScriptLocation", &scripts.pre_script_location), ("postScriptLocation", &scripts.post_script_location)];
        for (field, path) in paths {
            if !path.is_empty() && !path.starts_with('/') && !path.contains(":\\") {
                return Err(Error::invalid(format!("setting scripts: {field} '{}' is no absolute path", path.escape_debug())));
            }
        }
        if scripts.plugin_name.as_deref().is_some_and(|name| name != "ScriptRunner") {
            return Err(Error::invalid("setting scripts: pluginName is not ScriptRunner"));
        }
        if !(1..=TIMEOUT_SECONDS_MAX).contains(&scripts.timeout_in_seconds) {
            return Err(Error::invalid(format!("setting scripts: timeoutInSeconds must be 1 to {TIMEOUT_SECONDS_MAX}")));
        }
        Ok(scripts)
    }

    /// Runs the script that prepares the applications; `false` where there is none.
    ///
    /// # Errors
    /// With the script and how it failed, when it failed each time.
    pub(crate) async fn before(&self, agent: &mut Agent) -> Result<bool> {
        self.run(agent, &self.pre_script_location, &self.pre_script_params, self.pre_script_no_of_retries).await
    }

    /// Runs the script that lets them go on.
    ///
    /// # Errors
    /// As [`Scripts::before`].
    pub(crate) async fn after(&self, agent: &mut Agent) -> Result<bool> {
        self.run(agent, &self.post_script_location, &self.post_script_params, self.post_script_no_of_retries).await
    }

    async fn run(&self, agent: &mut Agent, path: &str, params: &[String], retries: u8) -> Result<bool> {
        if path.is_empty() {
            return Ok(false);
        }
        let arguments: Vec<&str> = params.iter().map(String::as_str).collect();
        let mut failure = None;
        for _ in 0..=retries {
            match agent.run(path, &arguments, Duration::from_secs(self.timeout_in_seconds)).await {
                Ok(Ended { code: 0, .. }) => return Ok(true),
                Ok(Ended { code, output }) => {
                    let said = if output.is_empty() { String::new() } else { format!(": {}", output.escape_debug()) };
                    failure = Some(Error::invalid(format!("script {} ended with {code}{said}", path.escape_debug())));
                }
                Err(error) => failure = Some(error.context(format!("script {}", path.escape_debug()))),
            }
        }
        failure.map_or(Ok(true), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_described_as_operators_know_it() {
        let scripts = Scripts::read(
            r#"{"pluginName":"ScriptRunner","preScriptLocation":"/etc/pre.sh","postScriptLocation":"/etc/post.sh","preScriptParams":["a",""],
                "postScriptParams":[],"preScriptNoOfRetries":2,"postScriptNoOfRetries":3,"timeoutInSeconds":45,"continueBackupOnFailure":false,
                "fsFreezeEnabled":false}"#,
        );
        let scripts = scripts.unwrap();
        assert_eq!((scripts.pre_script_no_of_retries, scripts.timeout_in_seconds), (2, 45));
        assert!(!scripts.continue_backup_on_failure && !scripts.fs_freeze_enabled);
        let least = Scripts::read(r#"{"preScriptLocation":"/a"}"#).unwrap();
        assert!(least.continue_backup_on_failure && least.fs_freeze_enabled && least.timeout_in_seconds == 30);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "",
            r#"{"preScript":"/a"}"#,
            r#"{"preScriptLocation":"a"}"#,
            r#"{"timeoutInSeconds":0}"#,
            r#"{"timeoutInSeconds":1801}"#,
            r#"{"pluginName":"Other"}"#,
        ] {
            assert!(Scripts::read(text).is_err(), "{text}");
        }
    }
}
