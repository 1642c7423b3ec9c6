//! What goes along with points: records as they are, and holds.

use std::collections::HashSet;

use stillpoint_format::limits;
use stillpoint_model::{ErrorKind, MarkKind, Result};
use stillpoint_vault::{Both, Mark, Name, Pair, copy};

/// Folders of records that a restore, or a vault that takes the primary's place, needs; nobody but the primary writes to them.
const FOLDERS: [&str; 3] = [Name::POLICIES, Name::REQUESTERS, Name::ITEMS];
/// Who writes the marks.
const BY: &str = "replicate";

/// Copies the records that the replica lacks, all of each sequence so that none has a gap, and returns how many.
pub(crate) async fn copy_records(pair: &Pair) -> Result<u64> {
    let mut copied = pair.copy_slots().await?;
    for folder in FOLDERS {
        let there = pair.replica.store().list(folder).await?;
        let there: HashSet<&str> = there.iter().map(|entry| entry.name.as_str()).collect();
        for entry in pair.primary.store().list(folder).await? {
            // What is no name of a vault's is nobody's record.
            if there.contains(entry.name.as_str()) || entry.name.parse::<Name>().is_err() {
                continue;
            }
            copy(&pair.primary, &pair.replica, &entry.name, limits::RECORD_BYTES_MAX).await?;
            copied += 1;
        }
    }
    Ok(copied)
}

/// Holds in the replica what the primary holds, and releases what it held for the primary's sake alone.
pub(crate) async fn align_holds(pair: &Pair, both: &Both) -> Result<()> {
    for (item, primary, replica) in both.shared() {
        let mark = match (primary.held(), replica.held()) {
            (Some(seq), None) => {
                let hold = pair.primary.read_mark(item, primary.id, seq, MarkKind::Held).await?;
                Mark::new(MarkKind::Held, pair.replica.clock().now(), BY, hold.why)
            }
            (None, Some(seq)) => {
                let hold = pair.replica.read_mark(item, replica.id, seq, MarkKind::Held).await?;
                if hold.by != BY {
                    continue;
                }
                Mark::new(MarkKind::Released, pair.replica.clock().now(), BY, "the primary released it")
            }
            _ => continue,
        };
        match pair.replica.mark(item, replica, &mark).await {
            // Somebody else wrote a mark at this moment; the next job looks again.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            other => other?,
        }
    }
    Ok(())
}
