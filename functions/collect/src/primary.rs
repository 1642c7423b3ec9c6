use std::collections::HashSet;

use stillpoint_fleet::Fleet;
use stillpoint_model::Result;
use stillpoint_vault::{Name, Pair, Regions, Vault};

/// What the vault's primary has, where the vault is a replica. A point of the primary that is yet to come may need anything that is there
/// now, and nothing that is gone: the primary's own `collect` sees to that.
pub(crate) enum Primary {
    /// The vault is no replica: its own jobs alone decide what can come to be needed.
    None,
    /// It does not answer, and why: everything may be needed.
    Away(String),
    /// Names of its packs and manifests.
    Has(HashSet<String>),
}

impl Primary {
    pub(crate) async fn look(vault: &Vault, fleet: &Fleet, regions: &dyn Regions) -> Self {
        if !fleet.settings.is_replica() {
            return Self::None;
        }
        match names(vault, regions).await {
            Ok(names) => Self::Has(names),
            Err(error) => Self::Away(error.one_line()),
        }
    }

    /// Whether a point that is yet to be copied here may need an object.
    pub(crate) fn may_need(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::Away(_) => true,
            Self::Has(names) => names.contains(name),
        }
    }

    /// What the operator should know.
    pub(crate) fn warning(&self) -> Option<String> {
        let Self::Away(why) = self else { return None };
        Some(format!(
            "the primary cannot be looked at, so no pack is condemned: {why}; promote this vault if the primary is lost"
        ))
    }
}

async fn names(vault: &Vault, regions: &dyn Regions) -> Result<HashSet<String>> {
    let Some(Pair { primary, .. }) = Pair::of(vault, regions).await? else { return Ok(HashSet::new()) };
    let mut names = HashSet::new();
    for folder in [Name::PACKS, Name::POINTS] {
        let listed = primary.store().list(folder).await?.into_iter().map(|entry| entry.name);
        names.extend(listed.filter(|name| matches!(name.parse(), Ok(Name::Pack { .. } | Name::Manifest(..)))));
    }
    Ok(names)
}
