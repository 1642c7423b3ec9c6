//! What another system asks for: a JSON Web Token (RFC 7519) that it signs with its own Ed25519 key (RFC 8037, `EdDSA`), of which the vault
//! has the public half.

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use ring::signature::{ED25519, ED25519_PUBLIC_KEY_LEN, Ed25519KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stillpoint_jobs::derived_id;
use stillpoint_model::{Error, ErrorKind, ItemName, JobId, RequesterName, Result, VaultId};
use stillpoint_vault::{Requester, Vault};

/// Longest order that is looked at.
pub const ORDER_BYTES_MAX: usize = 8 << 10;
/// How long an order may be good. Its job's id has the time of signing, and the timer looks for jobs of the last hour: what is older when it is
/// made would be driven on a day later only, should its messages be lost.
pub const LIFETIME_MAX: SignedDuration = SignedDuration::from_mins(30);
/// How far the requester's clock may be ahead.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// Longest name that a requester may give to an order.
const ID_CHARS_MAX: usize = 128;

/// The format of restored disks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskFormat {
    /// As the disk was.
    #[default]
    Raw,
    /// An image of QEMU's.
    Qcow2,
}

/// The claims of an order. Everything in it is the requester's word until [`Order::open`] has checked who says it and that they may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Who orders.
    pub iss: RequesterName,
    /// Of which vault.
    pub aud: VaultId,
    /// What the requester calls it; the same order again is the same job.
    pub jti: String,
    /// When it was signed, in seconds since 1970.
    pub iat: i64,
    /// Until when it may be begun, in seconds since 1970.
    pub exp: i64,
    /// The machine.
    pub machine: ItemName,
    /// `latest`, the id of a recovery point, or a time (RFC 3339): the newest point at or before it.
    #[serde(default = "latest", skip_serializing_if = "is_latest")]
    pub point: String,
    /// The folder that its disks are to be in, which exists at the site, or the URL of a folder in a store.
    pub to: String,
    /// What they are to be.
    #[serde(default, skip_serializing_if = "is_raw")]
    pub format: DiskFormat,
    /// Whether something that exists there may be replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overwrite: bool,
}

fn latest() -> String {
    "latest".to_owned()
}

fn is_latest(point: &str) -> bool {
    point == "latest"
}

fn is_raw(format: &DiskFormat) -> bool {
    *format == DiskFormat::Raw
}

/// What else there may be, such as `crit`, would have to be understood (RFC 7515, section 4.1.11).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

impl Order {
    /// Signs it: a token as [`Order::open`] takes it.
    #[must_use]
    pub fn sign(&self, key: &Ed25519KeyPair) -> String {
        let header = Header { alg: "EdDSA".to_owned(), typ: Some("JWT".to_owned()), kid: None };
        let mut token = format!("{}.{}", encode(&header), encode(self));
        let signature = BASE64URL_NOPAD.encode(key.sign(token.as_bytes()).as_ref());
        token.push('.');
        token.push_str(&signature);
        token
    }

    /// Reads an order and checks that a requester of this vault signed it, that it may order this, and that it is neither too old nor from
    /// the future.
    ///
    /// # Errors
    /// `denied` with the reason, which is fit for a log; `invalid` for what is no order; as the store.
    pub async fn open(vault: &Vault, token: &str) -> Result<Self> {
        let parts = Parts::of(token)?;
        let order: Self = decode(parts.claims)?;
        let requester = match vault.requester(&order.iss).await {
            Err(error) if error.kind() == ErrorKind::Missing => {
                return Err(Error::denied(format!("this vault knows no requester {}", order.iss)));
            }
            requester => requester?,
        };
        parts.verify(&requester)?;
        order.check(&requester, vault)?;
        Ok(order)
    }

    fn check(&self, requester: &Requester, vault: &Vault) -> Result<()> {
        let denied =
            |why: String| Err(Error::denied(format!("order {} of requester {}: {why}", self.jti.escape_debug(), self.iss)));
        let is_word = |text: &str| !text.is_empty() && text.len() <= ID_CHARS_MAX && !text.chars().any(char::is_control);
        if !is_word(&self.jti) {
            return Err(Error::invalid(format!("an order's jti has 1 to {ID_CHARS_MAX} printable characters")));
        }
        if requester.revoked {
            return denied("the requester was revoked".to_owned());
        }
        if self.aud != vault.identity().id {
            return denied(format!("it is for vault {}", self.aud));
        }
        let (now, signed, until) = (vault.clock().now(), at(self.iat)?, at(self.exp)?);
        if now >= until {
            return denied(format!("it expired at {until}"));
        }
        if signed > now + SKEW {
            return denied(format!("it was signed in the future, at {signed}"));
        }
        if until.duration_since(signed) > LIFETIME_MAX {
            return denied(format!("it is good for longer than {} min", LIFETIME_MAX.as_mins()));
        }
        if requester.machines.as_ref().is_some_and(|machines| !machines.contains(&self.machine)) {
            return denied(format!("the requester may not have machine {} restored", self.machine));
        }
        if !requester.may_write_to(&self.to) {
            return denied(format!("the requester may not have anything written to '{}'", self.to.escape_debug()));
        }
        if self.overwrite && !requester.overwrite {
            return denied("the requester may not have anything replaced".to_owned());
        }
        Ok(())
    }

    /// The id of its job: of the same order always the same one.
    ///
    /// # Errors
    /// `invalid` when it was signed before 1970.
    pub fn job(&self) -> Result<JobId> {
        derived_id(at(self.iat)?, &format!("{}\n{}\n{}", self.aud, self.iss, self.jti))
    }
}

fn at(seconds: i64) -> Result<Timestamp> {
    Timestamp::from_second(seconds).map_err(|_| Error::invalid("an order's iat and exp are seconds since 1970"))
}

/// The parts of a token (RFC 7515, compact serialization).
struct Parts<'a> {
    signed: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Result<Self> {
        let token = token.trim();
        let wrong = || Error::invalid("no order: a JSON Web Token of three parts is expected, at most 8 KiB");
        let (signed, signature) = token.rsplit_once('.').filter(|_| token.len() <= ORDER_BYTES_MAX).ok_or_else(wrong)?;
        let (header, claims) = signed.split_once('.').ok_or_else(wrong)?;
        // One algorithm alone: which one it is, is not the sender's choice.
        let header: Header = decode(header)?;
        if header.alg != "EdDSA" {
            return Err(Error::denied("an order is signed with EdDSA (Ed25519) and nothing else"));
        }
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| wrong())?;
        Ok(Self { signed, claims, signature })
    }

    fn verify(&self, requester: &Requester) -> Result<()> {
        let key = public_key(&requester.public_key)?;
        let verified = UnparsedPublicKey::new(&ED25519, key).verify(self.signed.as_bytes(), &self.signature);
        verified.map_err(|_| Error::denied(format!("requester {} did not sign this order", requester.name)))
    }
}

/// A public key as a requester's record has it.
fn public_key(text: &str) -> Result<Vec<u8>> {
    let key = BASE64URL_NOPAD.decode(text.as_bytes()).ok().filter(|key| key.len() == ED25519_PUBLIC_KEY_LEN);
    key.ok_or_else(|| Error::corrupt("the requester's public key is none"))
}

fn encode(part: &impl Serialize) -> String {
    BASE64URL_NOPAD.encode(&serde_json::to_vec(part).expect("a token is plain data with string keys"))
}

fn decode<T: DeserializeOwned>(part: &str) -> Result<T> {
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Error::invalid("no order: a part of it is no base64url"))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::invalid("no order of a restore").with_source(error))
}
