use jiff::Timestamp;
use stillpoint_model::{Error, Immutability, ItemName, PointId, Result, policy::Clock};
use stillpoint_vault::Vault;

use crate::{Fleet, Keeping};

/// A point that a change would keep for less long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortened {
    /// The machine.
    pub item: ItemName,
    /// The point.
    pub point: PointId,
    /// Until when it is kept now; none: as long as nothing changes.
    pub before: Option<Timestamp>,
    /// Until when it would be kept.
    pub after: Option<Timestamp>,
}

impl Fleet {
    /// Points that `changed` would keep for less long than this fleet does, of the machines for which it changes anything.
    ///
    /// # Errors
    /// As the store.
    pub async fn shortened(&self, vault: &Vault, changed: &Self) -> Result<Vec<Shortened>> {
        // What is promised does not depend on the time, and a time to compare by need not be believed.
        let clock = Clock::confirmed(vault.clock().now());
        let mut shortened = Vec::new();
        for member in &changed.members {
            let name = &member.item.name;
            let same = self.member(name).is_some_and(|before| {
                before.item.protection == member.item.protection
                    && before.assignment == member.assignment
                    && self.policy_of(before).map(|record| &record.policy)
                        == changed.policy_of(member).map(|record| &record.policy)
            });
            if same {
                continue;
            }
            let entries = vault.point_entries(name).await?;
            let before = self.keeping(vault, name, entries.clone(), &clock).await?;
            let after = changed.keeping(vault, name, entries, &clock).await?;
            shortened.extend(compare(name, &before, &after));
        }
        Ok(shortened)
    }

    /// Refuses a change of an immutable vault that would keep any point for less long.
    ///
    /// # Errors
    /// `denied`, naming the first such point; as the store.
    pub async fn refuse_shortening(&self, vault: &Vault, changed: &Self) -> Result<()> {
        if self.settings.immutability == Immutability::Off {
            return Ok(());
        }
        let shortened = self.shortened(vault, changed).await?;
        let Some(first) = shortened.first() else { return Ok(()) };
        let until = |until: Option<Timestamp>| until.map_or_else(|| "further notice".to_owned(), |until| until.to_string());
        Err(Error::denied(format!(
            "the vault is immutable ({}): {} points would be kept for less long, the first of them {} of {} until {} instead of {}",
            self.settings.immutability,
            shortened.len(),
            first.point,
            first.item,
            until(first.after),
            until(first.before)
        )))
    }
}

fn compare(name: &ItemName, before: &Keeping, after: &Keeping) -> Vec<Shortened> {
    let ends = |keeping: &Keeping, id: PointId| {
        keeping.points.iter().find(|kept| kept.point.id == id).map(|kept| kept.verdict.keep_until)
    };
    let shorter = |before: Option<Timestamp>, after: Option<Timestamp>| match (before, after) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(after)) => after < before,
    };
    let points = before.points.iter().map(|kept| (kept.point.id, kept.verdict.keep_until));
    let shortened = points.filter_map(|(point, before)| {
        let after = ends(after, point)?;
        shorter(before, after).then(|| Shortened { item: name.clone(), point, before, after })
    });
    shortened.collect()
}
