use std::collections::BTreeMap;

use jiff::Timestamp;
use stillpoint_model::{
    ItemName, PolicyName, Result,
    policy::{Assignment, ItemFacts, Policy, Share, assign},
};
use stillpoint_vault::{Item, Name, PolicyRecord, Protection, Settings, Vault};

use crate::digest::{self, Records};

/// A machine and what follows for it from all policies.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its record.
    pub item: Item,
    /// The policy it is under.
    pub assignment: Assignment,
    /// Its place in the spread of its policy's starts.
    pub share: Share,
}

impl Member {
    /// Whether the timer makes backups of it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.item.protection == Protection::Active
    }

    /// The policy it is under, if that is clear.
    #[must_use]
    pub const fn policy(&self) -> Option<&PolicyName> {
        match &self.assignment {
            Assignment::Policy(name) => Some(name),
            Assignment::None | Assignment::Conflict(_) | Assignment::Unknown(_) => None,
        }
    }

    /// Since when the policy it is under applies to it: the later of both records' writing. What was written by a clock that was ahead
    /// applies as if it had always been there, for nobody can tell since when; backups must not wait until that clock's time has come.
    #[must_use]
    pub fn applies_from(&self, policy: &PolicyRecord, now: Timestamp) -> Timestamp {
        [self.item.written, policy.written].into_iter().filter(|written| *written <= now).max().unwrap_or(Timestamp::MIN)
    }

    /// Why it is not clear which policy the machine is under, if so; one line.
    #[must_use]
    pub fn unclear(&self) -> Option<String> {
        let name = &self.item.name;
        match &self.assignment {
            Assignment::None | Assignment::Policy(_) => None,
            Assignment::Conflict(policies) => {
                let names: Vec<&str> = policies.iter().map(PolicyName::as_str).collect();
                Some(format!(
                    "machine {name} is chosen by several policies ({}); no backup is scheduled and nothing pruned until one is left",
                    names.join(", ")
                ))
            }
            Assignment::Unknown(policy) => Some(format!(
                "machine {name} was put under policy {policy}, which does not exist; no backup is scheduled and nothing pruned until it does"
            )),
        }
    }
}

/// All machines, policies and settings of a vault at one moment.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The machines, by name.
    pub members: Vec<Member>,
    /// The policies.
    pub policies: BTreeMap<PolicyName, PolicyRecord>,
    /// The settings.
    pub settings: Settings,
    /// Records that cannot be read: whose, and why.
    pub damaged: Vec<(String, String)>,
    wanted: Option<Name>,
}

impl Fleet {
    /// Reads all of it; three listings, and the digest or what this process has not read before.
    ///
    /// # Errors
    /// As the store; `corrupt` when the settings are. A policy or machine that cannot be read is in `damaged`.
    pub async fn load(vault: &Vault) -> Result<Self> {
        let settings = vault.settings().await?;
        let records = Records::read(vault).await?;
        let mut damaged = Vec::new();
        let mut items = Vec::new();
        for (name, item) in records.items {
            match item {
                Ok(item) => items.push(item),
                Err(error) => damaged.push((format!("machine {name}"), error.one_line())),
            }
        }
        let mut policies = BTreeMap::new();
        for (name, record) in records.policies {
            match record {
                Ok(record) => drop(policies.insert(name, record)),
                Err(error) => damaged.push((format!("policy {name}"), error.one_line())),
            }
        }
        let wanted = records.wanted.filter(|_| damaged.is_empty());
        Ok(Self { wanted, ..Self::assemble(items, policies, settings, damaged) })
    }

    /// The name of the digest of all machines and policies as they are now; others are of no use. Two listings.
    ///
    /// # Errors
    /// As the store.
    pub async fn digest_name(vault: &Vault) -> Result<Name> {
        Ok(digest::name(&vault.item_numbers().await?, &vault.policy_numbers().await?))
    }

    /// Writes the digest that would have saved reading many records one by one, if so many were read.
    ///
    /// # Errors
    /// As the store.
    pub async fn write_digest(&self, vault: &Vault) -> Result<()> {
        let Some(name) = &self.wanted else { return Ok(()) };
        let items = self.members.iter().map(|member| member.item.clone()).collect();
        digest::write(vault, name, items, self.policies.values().cloned().collect()).await
    }

    /// The policies alone, without machines: for what is done to one machine without a look at the others.
    ///
    /// # Errors
    /// As the store. A policy that cannot be read is in `damaged`.
    pub async fn of_policies(vault: &Vault) -> Result<Self> {
        let mut damaged = Vec::new();
        let mut policies = BTreeMap::new();
        for (name, record) in vault.policies().await? {
            match record {
                Ok(record) => drop(policies.insert(name, record)),
                Err(error) => damaged.push((format!("policy {name}"), error.one_line())),
            }
        }
        Ok(Self::assemble(Vec::new(), policies, Settings::default(), damaged))
    }

    fn assemble(
        items: Vec<Item>,
        policies: BTreeMap<PolicyName, PolicyRecord>,
        settings: Settings,
        damaged: Vec<(String, String)>,
    ) -> Self {
        let facts: Vec<ItemFacts> = items.iter().map(facts_of).collect();
        let all: Vec<Policy> = policies.values().map(|record| record.policy.clone()).collect();
        let assignments = assign(&facts, &all);
        let mut members: Vec<Member> = items
            .into_iter()
            .zip(assignments)
            .map(|(item, assignment)| Member { item, assignment, share: Share::FIRST })
            .collect();
        for name in policies.keys() {
            let own: Vec<usize> = (0..members.len())
                .filter(|place| members[*place].policy() == Some(name) && members[*place].is_active())
                .collect();
            let names: Vec<ItemName> = own.iter().map(|place| members[*place].item.name.clone()).collect();
            for (place, share) in own.into_iter().zip(Share::among(&names)) {
                members[place].share = share;
            }
        }
        Self { members, policies, settings, damaged, wanted: None }
    }

    /// The fleet as it would be with this version of a policy, written at `written`.
    #[must_use]
    pub fn with_policy(&self, policy: &Policy, written: Timestamp) -> Self {
        let mut policies = self.policies.clone();
        policies.insert(policy.name.clone(), PolicyRecord { policy: policy.clone(), written });
        let items = self.members.iter().map(|member| member.item.clone()).collect();
        Self::assemble(items, policies, self.settings.clone(), Vec::new())
    }

    /// The fleet as it would be with this record of a machine.
    #[must_use]
    pub fn with_item(&self, item: &Item) -> Self {
        self.with_items([item.clone()])
    }

    /// The fleet as it would be with these records of machines.
    #[must_use]
    pub fn with_items(&self, changed: impl IntoIterator<Item = Item>) -> Self {
        let by_name = |item: Item| (item.name.clone(), item);
        let mut items: BTreeMap<ItemName, Item> = self.members.iter().map(|member| by_name(member.item.clone())).collect();
        items.extend(changed.into_iter().map(by_name));
        Self::assemble(items.into_values().collect(), self.policies.clone(), self.settings.clone(), Vec::new())
    }

    /// A machine.
    #[must_use]
    pub fn member(&self, name: &ItemName) -> Option<&Member> {
        self.members.iter().find(|member| member.item.name == *name)
    }

    /// The policy that a machine is under, if that is clear.
    #[must_use]
    pub fn policy_of(&self, member: &Member) -> Option<&PolicyRecord> {
        self.policies.get(member.policy()?)
    }
}

fn facts_of(item: &Item) -> ItemFacts {
    ItemFacts { name: item.name.clone(), tags: item.tags.clone(), policy: item.policy.clone() }
}
