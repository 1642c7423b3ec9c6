use std::collections::BTreeMap;

use super::{AppliesTo, Policy};
use crate::{ItemName, PolicyName};

/// What of a machine decides which policy it is under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemFacts {
    /// Its name.
    pub name: ItemName,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The policy it was put under by name when it was added.
    pub policy: Option<PolicyName>,
}

/// The policy that a machine is under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    /// No policy chooses it; only requests make backups of it.
    None,
    /// Exactly one policy chooses it.
    Policy(PolicyName),
    /// Several choose it (names rising). This is reported, and until it is settled nothing of the machine is pruned.
    Conflict(Vec<PolicyName>),
    /// It was put under a policy that does not exist. This is reported, and nothing of the machine is pruned.
    Unknown(PolicyName),
}

impl AppliesTo {
    /// Whether these names or tags choose the machine.
    #[must_use]
    pub fn chooses(&self, item: &ItemFacts) -> bool {
        let has = |(key, value): (&String, &String)| item.tags.get(key) == Some(value);
        self.names.contains(&item.name) || !self.tags.is_empty() && self.tags.iter().all(has)
    }
}

/// Which policy each machine is under, in the order given.
///
/// All ways to be chosen count alike (by `names`, by `tags`, and by the machine's own record), and no policy goes before another:
/// two that choose one machine are a conflict, even if one names it and the other means its tags. A precedence would settle
/// in silence what an operator did not mean.
#[must_use]
pub fn assign(items: &[ItemFacts], policies: &[Policy]) -> Vec<Assignment> {
    items.iter().map(|item| assignment(item, policies)).collect()
}

fn assignment(item: &ItemFacts, policies: &[Policy]) -> Assignment {
    if let Some(named) = &item.policy
        && !policies.iter().any(|policy| policy.name == *named)
    {
        return Assignment::Unknown(named.clone());
    }
    let chosen = |policy: &&Policy| policy.applies_to.chooses(item) || item.policy.as_ref() == Some(&policy.name);
    let mut names: Vec<PolicyName> = policies.iter().filter(chosen).map(|policy| policy.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    match (names.pop(), names.is_empty()) {
        (None, _) => Assignment::None,
        (Some(only), true) => Assignment::Policy(only),
        (Some(last), false) => {
            names.push(last);
            Assignment::Conflict(names)
        }
    }
}
