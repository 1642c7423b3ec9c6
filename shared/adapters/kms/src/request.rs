//! One signed request to KMS (AWS JSON 1.1 protocol: `POST /`, the call's name in `X-Amz-Target`).

use std::{env, time::Duration};

use futures_util::StreamExt;
use object_store::{
    ClientOptions, RetryConfig,
    aws::{AmazonS3Builder, AwsAuthorizer, AwsCredential, AwsCredentialProvider},
    client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, ReqwestConnector},
};
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderValue},
};
use stillpoint_model::{Error, Result};
use url::Url;
use zeroize::Zeroizing;

use crate::{KeyArn, failure::Failure};

/// For a connection, and for one of the requests for credentials.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole request: KMS answers within milliseconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// More than any answer of KMS to these calls has.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// KMS in one region, with the credentials to reach it.
pub struct Endpoint {
    url: Url,
    region: String,
    http: HttpClient,
    credentials: AwsCredentialProvider,
}

/// Whether the environment allows requests without TLS, as it does for stores.
fn allow_http() -> bool {
    let set = env::var("AWS_ALLOW_HTTP").unwrap_or_default();
    ["1", "true", "on", "yes", "y"].contains(&set.trim().to_ascii_lowercase().as_str())
}

/// Where KMS answers: as the environment says, else in the key's region.
fn url(key: &KeyArn) -> Result<Url> {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let text = set("AWS_ENDPOINT_URL_KMS").or_else(|| set("AWS_ENDPOINT_URL")).unwrap_or_else(|| key.endpoint());
    let invalid = |why: &str| Error::invalid(format!("endpoint '{}' of AWS KMS {why}", text.escape_debug()));
    let url = Url::parse(&text).map_err(|error| invalid("is no URL").with_source(error))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_http() => Ok(url),
        "http" => Err(invalid("has no TLS; set AWS_ALLOW_HTTP=true to use it all the same")),
        _ => Err(invalid("is neither https nor http")),
    }
}

/// The chain of credentials that stores use, too. No request is made to any bucket.
fn credentials(key: &KeyArn) -> Result<AwsCredentialProvider> {
    let retry = RetryConfig { max_retries: 2, retry_timeout: Duration::from_secs(15), ..RetryConfig::default() };
    let chain = AmazonS3Builder::from_env()
        .with_bucket_name("stillpoint-kms")
        .with_s3_express(false)
        .with_region(key.region())
        .with_retry(retry)
        .build();
    Ok(AwsCredentialProvider::clone(chain.map_err(no_credentials)?.credentials()))
}

fn no_credentials(cause: object_store::Error) -> Error {
    let advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role grants them";
    Error::denied(format!("there are no AWS credentials to use KMS with; {advice}")).with_source(cause)
}

/// Characters that a header cannot have (a line break from a file, say) must not get as far as the signature.
fn fits_headers(credential: &AwsCredential) -> bool {
    let fits = |text: &str| HeaderValue::from_str(text).is_ok();
    fits(&credential.key_id) && credential.token.as_deref().is_none_or(fits)
}

impl Endpoint {
    /// Finds where the key's KMS answers and with what credentials. Nothing is sent yet.
    pub fn of(key: &KeyArn) -> Result<Self> {
        // An error means that a provider is installed already, which is what we want.
        drop(rustls::crypto::ring::default_provider().install_default());
        let options = ClientOptions::new()
            .with_allow_http(allow_http())
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout(REQUEST_TIMEOUT);
        let http = ReqwestConnector::default().connect(&options);
        let http = http.map_err(|error| Error::internal("cannot make a client for AWS KMS").with_source(error))?;
        Ok(Self { url: url(key)?, region: key.region().to_owned(), http, credentials: credentials(key)? })
    }

    /// Sends one request; the answer's body may hold a secret.
    pub async fn send(&self, call: &'static str, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let request = self.signed(call, body).await.map_err(Failure::Unsent)?;
        let silent = |cause| Failure::Silent { endpoint: self.url.to_string(), cause };
        let response = self.http.execute(request).await.map_err(silent)?;
        let status = response.status();
        let answer = whole(response).await.map_err(silent)?;
        if status.is_success() { Ok(answer) } else { Err(Failure::refused(status.as_u16(), &answer)) }
    }

    async fn signed(&self, call: &'static str, body: &[u8]) -> Result<HttpRequest> {
        let internal = |error: &dyn std::fmt::Display| Error::internal(format!("cannot make a request to AWS KMS: {error}"));
        let mut request = HttpRequest::new(body.to_vec().into());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.as_str().parse().map_err(|error| internal(&error))?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
        request.headers_mut().insert("x-amz-target", HeaderValue::from_static(call));
        let credential = self.credentials.get_credential().await.map_err(no_credentials)?;
        if !fits_headers(&credential) {
            return Err(Error::denied("AWS_ACCESS_KEY_ID or AWS_SESSION_TOKEN has a character that no credential has"));
        }
        let signed = AwsAuthorizer::new(&credential, "kms", &self.region).try_authorize(&mut request, None);
        signed.map_err(|error| internal(&error))?;
        Ok(request)
    }
}

async fn whole(response: HttpResponse) -> Result<Zeroizing<Vec<u8>>, HttpError> {
    // Room for all of it at once: a buffer that grew would leave copies of a secret behind.
    let mut answer = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX));
    let mut parts = response.into_body().bytes_stream();
    while let Some(part) = parts.next().await.transpose()? {
        if answer.len() + part.len() > ANSWER_BYTES_MAX {
            return Err(HttpError::new(HttpErrorKind::Decode, Error::internal("the answer is too long")));
        }
        answer.extend_from_slice(&part);
    }
    Ok(answer)
}
