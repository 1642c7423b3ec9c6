use stillpoint_model::ErrorKind;

/// How `object_store` begins the text of an answer that is no success; the status and the body follow.
const ANSWERED: &str = "Server returned non-2xx status code: ";
/// Its text for a redirect that says not where to: S3's answer where the region is wrong.
const REDIRECTED: &str = "Received redirect without LOCATION";
/// Most characters of a store's own words that go into a message.
const WORDS_MAX: usize = 300;

const NO_BUCKET: &str = "there is no such bucket or container; make it first, or mend the vault URL";
const NOT_ALLOWED: &str = "these credentials may not do that; let them read, write, list and delete under the vault's prefix";
const NOT_VALID: &str = "the store does not accept these credentials; check the cloud's environment variables or role";
const CLOCK: &str = "this machine's clock is too far from the store's; set it right (NTP) and try again";
const REGION: &str = "the bucket is in another region; set it in the vault URL (region=…) or in AWS_REGION";
const KEY: &str = "the store may not use its encryption key; check the key's state and policy";

/// What a store said when it did not do what it was asked; the only place that reads a store's own words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: Option<u16>,
    code: Option<String>,
    message: Option<String>,
    region: Option<String>,
}

impl Refusal {
    /// Reads the innermost text of an error.
    pub(crate) fn of(text: &str) -> Self {
        if text.starts_with(REDIRECTED) {
            return Self { status: Some(301), ..Self::default() };
        }
        // A bulk delete answers with success and a list of what it did not do.
        if let Some((_, code)) = text.rsplit_once(" (code: ") {
            return Self { code: Some(code.trim_end_matches(')').to_owned()), ..Self::default() };
        }
        let Some(answer) = text.strip_prefix(ANSWERED) else { return Self::default() };
        let element = |name| element(answer, name).map(str::to_owned);
        Self {
            status: answer.get(..3).and_then(|digits| digits.parse().ok()),
            code: element("Code"),
            message: element("Message"),
            region: element("Region"),
        }
    }

    /// What kind of error this is, and what to do about it; none where the store's words do not decide it.
    pub(crate) fn verdict(&self) -> Option<(ErrorKind, &'static str)> {
        let by_code = self.code.as_deref().and_then(by_code);
        by_code.or_else(|| match self.status? {
            301 | 307 | 308 => Some((ErrorKind::Invalid, REGION)),
            401 => Some((ErrorKind::Denied, NOT_VALID)),
            403 => Some((ErrorKind::Denied, NOT_ALLOWED)),
            400 | 405 | 411..=414 | 501 => Some((ErrorKind::Invalid, "the store does not take such a request")),
            _ => None,
        })
    }

    /// The store's own words, short; none where it said nothing.
    pub(crate) fn words(&self) -> Option<String> {
        let region = self.region.as_ref().map(|region| format!("region {region}"));
        let words: Vec<&str> = [&self.code, &self.message, &region].into_iter().flatten().map(String::as_str).collect();
        if words.is_empty() {
            return self.status.map(|status| format!("HTTP status {status}"));
        }
        Some(short(&words.join(", ")))
    }
}

fn by_code(code: &str) -> Option<(ErrorKind, &'static str)> {
    Some(match code {
        "NoSuchBucket" | "ContainerNotFound" | "InvalidBucketName" => (ErrorKind::Missing, NO_BUCKET),
        "AccessDenied" | "AllAccessDisabled" | "AuthorizationFailure" | "AuthorizationPermissionMismatch" => {
            (ErrorKind::Denied, NOT_ALLOWED)
        }
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "AuthenticationFailed"
        | "NoAuthenticationInformation"
        | "InvalidToken"
        | "ExpiredToken"
        | "TokenRefreshRequired" => (ErrorKind::Denied, NOT_VALID),
        "RequestTimeTooSkewed" => (ErrorKind::Denied, CLOCK),
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
            (ErrorKind::Invalid, REGION)
        }
        _ if code.starts_with("KMS.") => (ErrorKind::Denied, KEY),
        _ => return None,
    })
}

/// At most [`WORDS_MAX`] characters in one line.
pub(crate) fn short(words: &str) -> String {
    let line: Vec<&str> = words.split_whitespace().collect();
    line.join(" ").chars().take(WORDS_MAX).collect()
}

/// The text of the first such element; bodies are small and their names do not nest, so no XML reader is needed.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = after.split_once(&format!("</{name}>"))?;
    Some(text.trim()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<ErrorKind>, String) {
        let refusal = Refusal::of(text);
        (refusal.verdict().map(|(kind, _)| kind), refusal.words().unwrap_or_default())
    }

    #[test]
    fn a_store_s_words_are_read() {
        let skewed = "Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?>\n<Error><Code>RequestTimeTooSkewed\
                      </Code><Message>The difference\nis too large</Message><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>";
        assert_eq!(read(skewed), (Some(ErrorKind::Denied), "RequestTimeTooSkewed, The difference is too large".to_owned()));
        assert!(Refusal::of(skewed).verdict().is_some_and(|(_, advice)| advice.contains("clock")));
        let region = "Server returned non-2xx status code: 400 Bad Request: <Error><Code>AuthorizationHeaderMalformed</Code>\
                      <Region>eu-west-1</Region></Error>";
        assert_eq!(read(region), (Some(ErrorKind::Invalid), "AuthorizationHeaderMalformed, region eu-west-1".to_owned()));
        assert_eq!(
            read("DeleteObjects request failed for key a: no (code: AccessDenied)"),
            (Some(ErrorKind::Denied), "AccessDenied".to_owned())
        );
    }

    #[test]
    fn without_words_the_status_decides_and_trouble_that_passes_is_left_alone() {
        assert_eq!(read("Server returned non-2xx status code: 403 Forbidden: ").0, Some(ErrorKind::Denied));
        assert_eq!(read("Received redirect without LOCATION, this normally").0, Some(ErrorKind::Invalid));
        for passing in ["500 Internal Server Error: ", "503 Slow Down: <Code>SlowDown</Code>", "408 Timeout: ", "429 Many: "] {
            assert_eq!(read(&format!("{ANSWERED}{passing}")).0, None, "{passing}");
        }
        assert_eq!(read("tcp connect error"), (None, String::new()));
        assert_eq!(short(&"x ".repeat(400)).chars().count(), WORDS_MAX);
    }
}
