use futures_util::{StreamExt, TryStreamExt, stream};
use stillpoint_model::{Error, ErrorKind, ItemName, MarkKind, Result};
use stillpoint_vault::{Mark, Name, PointEntry, Vault};

/// Who stands in the marks.
const COLLECT: &str = "collect";

/// Whether objects of this kind are ever deleted. Machines, policies, keys, ledgers, decisions and alarms are not, whatever a record says.
fn is_deletable(name: &str) -> bool {
    matches!(
        name.parse(),
        Ok(Name::Pack { .. }
            | Name::Manifest(..)
            | Name::Point(..)
            | Name::Mark(..)
            | Name::Collect(_)
            | Name::CollectWaits(_)
            | Name::Census(..)
            | Name::Tick(_)
            | Name::Fleet(_)
            | Name::Slot(..)
            | Name::Plan(_)
            | Name::Marker(..)
            | Name::GroupMarker(..))
    )
}

/// Deletes objects, some at a time. One that is gone already counts as deleted; the first that cannot be deleted ends it.
pub(crate) async fn delete(vault: &Vault, names: impl IntoIterator<Item = &String> + Send, in_flight: usize) -> Result<()> {
    let names: Vec<&String> = names.into_iter().collect();
    if let Some(name) = names.iter().find(|name| !is_deletable(name)) {
        return Err(Error::corrupt(format!("a record of collect names '{}', which is never deleted", name.escape_debug())));
    }
    let delete = |name: &'_ String| {
        let (store, name) = (vault.store().clone(), name.clone());
        async move { store.delete(&name).await }
    };
    stream::iter(names.into_iter().map(delete)).buffer_unordered(in_flight).try_collect::<()>().await
}

/// Marks points, some at a time. Another run, or somebody who marks them at this moment, is no trouble.
pub(crate) async fn mark(
    vault: &Vault,
    points: &[(ItemName, PointEntry)],
    kind: MarkKind,
    why: &str,
    in_flight: usize,
) -> Result<()> {
    let now = vault.clock().now();
    let create = |(item, entry): &(ItemName, PointEntry)| {
        let (vault, item, entry, mark) = (vault.clone(), item.clone(), entry.clone(), Mark::new(kind, now, COLLECT, why));
        async move {
            match vault.mark(&item, &entry, &mark).await {
                // The name says the same as this mark does.
                Err(error) if error.kind() != ErrorKind::Conflict => Err(error),
                _ => Ok(()),
            }
        }
    };
    stream::iter(points.iter().map(create)).buffer_unordered(in_flight).try_collect::<()>().await
}
