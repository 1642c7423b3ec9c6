//! The key service of moto: an emulator of AWS with real cryptography behind its KMS.

use std::sync::Arc;

use serde_json::{Value, json};
use stillpoint_tests::{
    servers::{S3Server, ask, moto},
    text,
};

/// A running moto; tests share it, and each makes keys of its own.
pub struct Moto {
    port: u16,
    _server: Arc<S3Server>,
}

impl Moto {
    /// Starts it, if no other test has.
    pub fn start() -> Self {
        let server = moto();
        let url = server.url("any");
        let port = url.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split('&').next()?.parse().ok());
        Self { port: port.unwrap_or_else(|| panic!("no port in {url}")), _server: server }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Calls KMS as an administrator would.
    fn call(&self, call: &str, body: &Value) -> Value {
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", &format!("TrentService.{call}")),
            // It is not checked, but says which service and region are meant.
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/kms/aws4_request, SignedHeaders=host, Signature=00",
            ),
        ];
        let answer = ask(self.port, "POST", "/", &headers, body.to_string().as_bytes()).expect("moto answers");
        assert_eq!(answer.status, 200, "{call}: {}", answer.body);
        if answer.body.is_empty() { Value::Null } else { serde_json::from_str(&answer.body).expect("KMS answers in JSON") }
    }

    /// A new symmetric key; returns its ARN.
    pub fn key(&self) -> String {
        text(&self.call("CreateKey", &json!({})), "/KeyMetadata/Arn").to_owned()
    }

    /// Gives a key a name that nothing else has; returns the alias's ARN.
    pub fn alias(&self, key: &str) -> String {
        let (account, id) = key.split_once(":key/").expect("an ARN of a key");
        self.call("CreateAlias", &json!({ "AliasName": format!("alias/backup/{id}"), "TargetKeyId": key }));
        format!("{account}:alias/backup/{id}")
    }
}
