use jiff::Timestamp;
use stillpoint_events::{Outgoing, SnapshotExpired};
use stillpoint_model::{ErrorKind, JobId, Result};

use crate::{Carrier, Engine, KeptListing, KeptSnapshot};

/// Kept snapshots whose time is over that are asked about at once; the rest has its turn later.
const ASKED_MAX: usize = 50;

impl Engine {
    /// The events that have those of the `kept` snapshots given back which jobs of `host` and `carrier` keep and whose time is over, but
    /// for jobs that are known to be `live`. Where something is over, it takes a small object for each.
    ///
    /// # Errors
    /// As the store.
    pub async fn expired_snapshots(
        &self,
        kept: &[KeptListing],
        host: &str,
        carrier: Carrier,
        is_live: impl Fn(JobId) -> bool,
    ) -> Result<Vec<Outgoing>> {
        let now = self.vault().clock().now();
        let over: Vec<&KeptListing> = kept.iter().filter(|kept| kept.is_over(now) && !is_live(kept.job)).collect();
        let mut events = Vec::new();
        for listing in turn(&over, now) {
            match self.read_kept(listing).await {
                Ok(KeptSnapshot { item, job, host: of, carrier: by, .. }) if of == host && by == carrier => {
                    events.push(Outgoing::new(&SnapshotExpired { item, job }));
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                // Another place's; or a record that is nobody's word, or gone.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(events)
    }
}

/// Those that are asked about in this minute. Each minute others come first, or some that cannot be given back would hide the rest.
fn turn<'a>(over: &[&'a KeptListing], now: Timestamp) -> impl Iterator<Item = &'a KeptListing> {
    let minute = usize::try_from(now.as_second() / 60).unwrap_or(0);
    let start = minute.wrapping_mul(ASKED_MAX).checked_rem(over.len()).unwrap_or(0);
    over.iter().copied().cycle().skip(start).take(over.len().min(ASKED_MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_one_has_its_turn() {
        let job = |number: usize| format!("01ARZ3NDEKTSV4RRFFQ69G5{number:03}").parse().unwrap();
        let one = |number| KeptListing { item: "web-01".parse().unwrap(), job: job(number), until: Timestamp::UNIX_EPOCH };
        let kept: Vec<KeptListing> = (0..120).map(one).collect();
        let over: Vec<&KeptListing> = kept.iter().collect();
        let at = |minute: i64| Timestamp::from_second((29_000_000 + minute) * 60).unwrap();
        let asked: BTreeSet<_> = (0..3).flat_map(|minute| turn(&over, at(minute)).map(|kept| kept.job)).collect();
        assert_eq!(asked.len(), 120);
        assert_eq!(turn(&over[..3], at(7)).count(), 3);
        assert_eq!(turn(&[], at(7)).count(), 0);
    }
}
