use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::{Error, PolicyName, Result, policy::Policy};

use crate::{Kind, Name, Vault};

const POLICY: Kind = Kind::small("policy");
/// Records read at once.
const IN_FLIGHT: usize = 16;

/// A version of a policy: the body of `policies/<name>/<seq>.json`. The newest record counts; older ones are history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRecord {
    /// The policy.
    pub policy: Policy,
    /// When this version was written.
    pub written: Timestamp,
}

impl Vault {
    /// Writes a new version of a policy and returns its number.
    ///
    /// # Errors
    /// `invalid` when the policy does not make sense; `conflict`; as the store.
    pub async fn write_policy(&self, policy: &Policy) -> Result<u32> {
        policy.check()?;
        let newest = self.policy_versions(&policy.name).await?.last().copied().unwrap_or(0);
        let record = PolicyRecord { policy: policy.clone(), written: self.clock().now() };
        self.append_record(POLICY, newest, |seq| Name::Policy(policy.name.clone(), seq), &record).await
    }

    /// Numbers of a policy's versions, rising; none when there is no such policy.
    ///
    /// # Errors
    /// As the store.
    pub async fn policy_versions(&self, name: &PolicyName) -> Result<Vec<u32>> {
        let seq = |name| if let Name::Policy(_, seq) = name { Some(seq) } else { None };
        self.names(&Name::policy_folder(name), seq).await
    }

    /// The number of each policy's newest version. One listing.
    ///
    /// # Errors
    /// As the store.
    pub async fn policy_numbers(&self) -> Result<BTreeMap<PolicyName, u32>> {
        let seq = |name| if let Name::Policy(name, seq) = name { Some((name, seq)) } else { None };
        Ok(self.names(Name::POLICIES, seq).await?.into_iter().collect())
    }

    /// One version of a policy.
    ///
    /// # Errors
    /// `missing`, `corrupt`; as the store.
    pub async fn policy_version(&self, name: &PolicyName, seq: u32) -> Result<PolicyRecord> {
        let record: PolicyRecord = self.read_record(POLICY, &Name::Policy(name.clone(), seq)).await?;
        if record.policy.name == *name {
            Ok(record)
        } else {
            Err(Error::corrupt(format!("the record of policy {name} is of another policy")))
        }
    }

    /// A policy's newest version.
    ///
    /// # Errors
    /// `missing` when there is no such policy, `corrupt`; as the store.
    pub async fn policy(&self, name: &PolicyName) -> Result<PolicyRecord> {
        match self.policy_versions(name).await?.last() {
            Some(seq) => self.policy_version(name, *seq).await,
            None => Err(Error::missing(format!("there is no policy {name} in this vault; see `stillpoint policy list`"))),
        }
    }

    /// The newest version of every policy, by name; one that cannot be read does not hide the others. One listing, and one read of each
    /// that this process has not read before.
    ///
    /// # Errors
    /// As the store.
    pub async fn policies(&self) -> Result<Vec<(PolicyName, Result<PolicyRecord>)>> {
        Ok(self.read_policies(self.policy_numbers().await?).await)
    }

    /// Records of policies by their numbers, some at a time, in the order given.
    pub async fn read_policies(
        &self,
        numbers: impl IntoIterator<Item = (PolicyName, u32)>,
    ) -> Vec<(PolicyName, Result<PolicyRecord>)> {
        let read = |(name, seq): (PolicyName, u32)| async move {
            let record = self.policy_version(&name, seq).await;
            (name, record)
        };
        stream::iter(numbers.into_iter().map(read)).buffered(IN_FLIGHT).collect().await
    }
}
