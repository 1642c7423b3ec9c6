use std::collections::BTreeMap;

use stillpoint_model::ItemName;
use stillpoint_vault::{Item, Protection};

use crate::time::DAY;

/// A collect that looked before a machine was protected again may go on this much later: it stood still.
const LATE: i64 = 3 * DAY;

/// One deletion of a machine with its points, in milliseconds since 1970.
#[derive(Clone)]
struct Deletion {
    until: i64,
    /// When the machine was protected again.
    undone: Option<i64>,
}

/// Machines that were deleted, and their points with them.
#[derive(Clone, Default)]
pub(crate) struct Deletions(BTreeMap<ItemName, Vec<Deletion>>);

impl Deletions {
    /// A machine has a new record.
    pub(crate) fn saw(&mut self, item: &Item, now: i64) {
        let all = self.0.entry(item.name.clone()).or_default();
        match item.protection {
            Protection::Deleted { until, .. } => all.push(Deletion { until: until.as_millisecond(), undone: None }),
            _ => all.iter_mut().for_each(|deletion| deletion.undone = deletion.undone.or(Some(now))),
        }
    }

    /// Whether points of a machine may be gone because it was deleted, by a clock that is wrong by `apart` at most.
    pub(crate) fn is_over(&self, name: &ItemName, now: i64, apart: i64) -> bool {
        let is_over =
            |deletion: &Deletion| deletion.until <= now + apart && deletion.undone.is_none_or(|undone| now <= undone + LATE);
        self.0.get(name).is_some_and(|all| all.iter().any(is_over))
    }
}
