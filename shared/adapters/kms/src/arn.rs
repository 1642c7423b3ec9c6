use std::{fmt, str::FromStr};

use stillpoint_model::Error;

/// The ARN of a KMS key or of an alias of one:
/// `arn:<partition>:kms:<region>:<account>:key/<id>` or `…:alias/<name>`
/// (AWS Key Management Service Developer Guide, "Key identifiers").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyArn {
    text: String,
    region: String,
    domain: &'static str,
}

/// Domain of a partition's endpoints (AWS General Reference, "Service endpoints").
fn domain(partition: &str) -> Option<&'static str> {
    match partition {
        "aws" | "aws-us-gov" => Some("amazonaws.com"),
        "aws-cn" => Some("amazonaws.com.cn"),
        _ => None,
    }
}

impl FromStr for KeyArn {
    type Err = Error;

    /// The region becomes part of a host name, and slots come from a store that is not trusted: nothing but what an ARN can
    /// have gets through.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || {
            Error::invalid(format!(
                "'{}' is no KMS key; give an ARN such as arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
                text.chars().take(200).collect::<String>().escape_debug()
            ))
        };
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "kms", region, account, resource] = parts[..] else { return Err(invalid()) };
        let domain = domain(partition).ok_or_else(invalid)?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
        let name = resource.strip_prefix("key/").or_else(|| resource.strip_prefix("alias/")).unwrap_or_default();
        let sound = (1..=32).contains(&region.len())
            && region.chars().all(plain)
            && account.len() == 12
            && account.chars().all(|c| c.is_ascii_digit())
            && (1..=256).contains(&name.len())
            && name.chars().all(in_name);
        if sound { Ok(Self { text: text.to_owned(), region: region.to_owned(), domain }) } else { Err(invalid()) }
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl KeyArn {
    /// The whole ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The region that the key is in.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Where KMS answers in that region, unless the environment says otherwise.
    pub(crate) fn endpoint(&self) -> String {
        format!("https://kms.{}.{}", self.region, self.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_aliases_of_any_partition_name_their_endpoint() {
        for (text, endpoint) in [
            ("arn:aws:kms:eu-central-1:111122223333:key/mrk-12", "https://kms.eu-central-1.amazonaws.com"),
            ("arn:aws:kms:us-east-1:111122223333:alias/backup/vault_1", "https://kms.us-east-1.amazonaws.com"),
            ("arn:aws-cn:kms:cn-north-1:111122223333:key/12", "https://kms.cn-north-1.amazonaws.com.cn"),
            ("arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/12", "https://kms.us-gov-west-1.amazonaws.com"),
        ] {
            let arn: KeyArn = text.parse().unwrap();
            assert_eq!((arn.as_str(), arn.endpoint().as_str()), (text, endpoint));
        }
    }

    #[test]
    fn what_would_reach_another_host_is_no_arn() {
        for text in [
            "",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:evil.example/:111122223333:key/12",
            "arn:aws:kms:a@b:111122223333:key/12",
            "arn:aws:kms::111122223333:key/12",
            "arn:aws:kms:eu-central-1:1111:key/12",
            "arn:aws:kms:eu-central-1:111122223333:key/",
            "arn:aws:kms:eu-central-1:111122223333:grant/12",
            "arn:aws:kms:eu-central-1:111122223333:key/1\n2",
            "arn:aws:s3:eu-central-1:111122223333:key/12",
            "arn:evil:kms:eu-central-1:111122223333:key/12",
        ] {
            let error = text.parse::<KeyArn>().unwrap_err();
            assert_eq!(error.kind(), stillpoint_model::ErrorKind::Invalid, "{text}");
            assert!(!error.one_line().contains('\n'));
        }
    }
}
