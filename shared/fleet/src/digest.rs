use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stillpoint_format::digest;
use stillpoint_model::{Error, ErrorKind, ItemName, PolicyName, Result};
use stillpoint_vault::{Item, Kind, Name, PLAN, PolicyRecord, Vault};

/// As large as the fleet: some 400 bytes a machine.
const DIGEST: Kind = Kind { name: "fleet", ..PLAN };
/// Fewer records than these are read one by one.
const RECORDS_MIN: usize = 20;

/// All machines and policies in one object: the body of `fleet/<hash of the records' names>.json`. A process that has just started
/// would otherwise read each by itself, with every tick that finds no warm one. It says nothing that the records do not, and is
/// found by which of them are the newest; when it is missing, damaged or old they are read.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Digest {
    items: Vec<Item>,
    policies: Vec<PolicyRecord>,
}

/// The newest records of all machines and policies.
pub(crate) struct Records {
    pub(crate) items: Vec<(ItemName, Result<Item>)>,
    pub(crate) policies: Vec<(PolicyName, Result<PolicyRecord>)>,
    /// The digest that would have saved reading them one by one.
    pub(crate) wanted: Option<Name>,
}

/// A name for these records together.
pub(crate) fn name(items: &BTreeMap<ItemName, u32>, policies: &BTreeMap<PolicyName, u32>) -> Name {
    let items = items.iter().map(|(item, seq)| Name::Item(item.clone(), *seq).to_string());
    let policies = policies.iter().map(|(policy, seq)| Name::Policy(policy.clone(), *seq).to_string());
    let names: Vec<String> = items.chain(policies).collect();
    Name::Fleet(digest(names.join("\n").as_bytes()))
}

impl Records {
    /// Reads them; two listings, and the digest or what this process has not read before.
    pub(crate) async fn read(vault: &Vault) -> Result<Self> {
        let (items, policies) = (vault.item_numbers().await?, vault.policy_numbers().await?);
        let unread_items = items.iter().filter(|(item, seq)| !vault.has_read(&Name::Item((*item).clone(), **seq))).count();
        let unread =
            unread_items + policies.iter().filter(|(name, seq)| !vault.has_read(&Name::Policy((*name).clone(), **seq))).count();
        let mut wanted = None;
        if unread >= RECORDS_MIN {
            let name = name(&items, &policies);
            match vault.read_record::<Digest>(DIGEST, &name).await {
                Ok(digest) => return Ok(digest.into()),
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(_) => wanted = Some(name),
            }
        }
        Ok(Self { items: vault.read_items(items).await, policies: vault.read_policies(policies).await, wanted })
    }
}

impl From<Digest> for Records {
    fn from(digest: Digest) -> Self {
        Self {
            items: digest.items.into_iter().map(|item| (item.name.clone(), Ok(item))).collect(),
            policies: digest.policies.into_iter().map(|record| (record.policy.name.clone(), Ok(record))).collect(),
            wanted: None,
        }
    }
}

/// Writes a digest.
pub(crate) async fn write(vault: &Vault, name: &Name, items: Vec<Item>, policies: Vec<PolicyRecord>) -> Result<()> {
    match vault.create_record(DIGEST, name, &Digest { items, policies }).await {
        Err(error) if error.kind() != ErrorKind::Conflict => Err(Error::context(error, "the digest of the fleet")),
        _ => Ok(()),
    }
}
