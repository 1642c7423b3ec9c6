use std::path::PathBuf;

use stillpoint_broker::{Broker, Site};
use stillpoint_kms::KeyArn;
use stillpoint_model::{Error, Result};
use stillpoint_webhook::Given;

/// Where functions run unless they are told.
const SITE_DEFAULT: &str = "aws";

/// What the environment says; see the crate.
pub struct Settings {
    /// The vault's URL.
    pub vault: String,
    /// The key file that opens it.
    pub key_file: Option<PathBuf>,
    /// The only KMS key to open it with.
    pub kms: Option<KeyArn>,
    /// The broker.
    pub broker: Broker,
    /// The site.
    pub site: Site,
    /// Where alarms are told.
    pub webhook: Given,
}

impl Settings {
    /// Reads them; `variable` looks one up.
    ///
    /// # Errors
    /// `invalid`, naming the variable.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let wanted = |name: &str| given(name).ok_or_else(|| Error::invalid(format!("{name} is not set")));
        let named = |name: &'static str| move |error: Error| error.context(name);
        let ca = given("STILLPOINT_BROKER_CA").map(|path| {
            std::fs::read_to_string(&path).map_err(|error| Error::from(error).context(format!("STILLPOINT_BROKER_CA: {path}")))
        });
        let kms = given("STILLPOINT_KMS_KEY").map(|key| key.parse().map_err(named("STILLPOINT_KMS_KEY")));
        let site = given("STILLPOINT_SITE").unwrap_or_else(|| SITE_DEFAULT.to_owned());
        Ok(Self {
            vault: wanted("STILLPOINT_VAULT")?,
            key_file: given("STILLPOINT_KEY_FILE").map(PathBuf::from),
            kms: kms.transpose()?,
            broker: Broker::new(&wanted("STILLPOINT_BROKER")?, ca.transpose()?).map_err(named("STILLPOINT_BROKER"))?,
            site: site.parse().map_err(named("STILLPOINT_SITE"))?,
            webhook: Given {
                url: given("STILLPOINT_WEBHOOK"),
                secret_file: given("STILLPOINT_WEBHOOK_SECRET_FILE").map(PathBuf::from),
                secret: given("STILLPOINT_WEBHOOK_SECRET"),
                allow_http: given("STILLPOINT_WEBHOOK_ALLOW_HTTP").is_some_and(|value| value == "true"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 2] = [("STILLPOINT_VAULT", "s3://bucket/vault"), ("STILLPOINT_BROKER", "amqp://u:p@h:1/%2f")];

    fn read(more: &[(&str, &str)]) -> Result<Settings> {
        let all: Vec<(&str, &str)> = more.iter().chain(&GOOD).copied().collect();
        Settings::read(|name| all.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn two_settings_are_enough() {
        let settings = read(&[]).unwrap();
        assert_eq!((settings.vault.as_str(), settings.site.as_str()), ("s3://bucket/vault", "aws"));
        assert!(settings.key_file.is_none() && settings.kms.is_none());
        assert_eq!(read(&[("STILLPOINT_SITE", ""), ("STILLPOINT_KEY_FILE", "/k")]).unwrap().site.as_str(), "aws");
    }

    #[test]
    fn where_alarms_are_told_is_read_and_may_be_left_empty() {
        let url = ("STILLPOINT_WEBHOOK", "https://hooks.example.org/");
        let webhook =
            read(&[url, ("STILLPOINT_WEBHOOK_SECRET", "s"), ("STILLPOINT_WEBHOOK_ALLOW_HTTP", "true")]).unwrap().webhook;
        assert_eq!((webhook.url.as_deref(), webhook.secret.as_deref()), (Some(url.1), Some("s")));
        assert!(webhook.allow_http && webhook.secret_file.is_none());
        // As the template leaves them where there is none.
        let webhook = read(&[("STILLPOINT_WEBHOOK", ""), ("STILLPOINT_WEBHOOK_SECRET", "")]).unwrap().webhook;
        assert!(webhook.url.is_none() && webhook.secret.is_none() && !webhook.allow_http);
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let wrong = [
            ("STILLPOINT_VAULT", ""),
            ("STILLPOINT_BROKER", ""),
            ("STILLPOINT_BROKER", "http://host"),
            ("STILLPOINT_BROKER_CA", "/nowhere.pem"),
            ("STILLPOINT_SITE", "a b"),
            ("STILLPOINT_KMS_KEY", "alias/vault"),
        ];
        for (name, value) in wrong {
            let error = read(&[(name, value)]).err().expect(value).one_line();
            assert!(error.contains(name), "{error}");
        }
    }
}
