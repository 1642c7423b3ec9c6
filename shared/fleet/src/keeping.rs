use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use stillpoint_model::{
    Error, ErrorKind, ItemName, MarkKind, Mutation, PointId, Result,
    policy::{Clock, ClockMargins, PointFacts, Regime, Retention, Verdict, plan},
};
use stillpoint_vault::{Point, PointEntries, PointEntry, PointListing, Protection, Vault};

use crate::{Fleet, Member};

/// Tombstones read at once.
const MARKS_IN_FLIGHT: usize = 16;

/// A recovery point and what becomes of it.
#[derive(Debug)]
pub struct Kept {
    /// Its marks.
    pub entry: PointEntry,
    /// Its record.
    pub point: Point,
    /// What becomes of it, and why.
    pub verdict: Verdict,
}

/// All points of one machine.
#[derive(Debug, Default)]
pub struct Keeping {
    /// Those that can be read, oldest first.
    pub points: Vec<Kept>,
    /// Those that cannot: nothing is done about them.
    pub unreadable: Vec<(PointId, Error)>,
}

/// What is read of a point before it is judged.
struct Looked {
    entry: PointEntry,
    point: Point,
    facts: PointFacts,
}

impl Fleet {
    /// The clock, as far as the vault's own points bear it out: `entries` are those of all machines.
    #[must_use]
    pub fn clock(&self, now: Timestamp, entries: &PointEntries) -> Clock {
        let margins = ClockMargins::DEFAULT;
        let age = self.settings.clock_confirmed.map(|confirmed| now.duration_since(confirmed));
        if age.is_some_and(|age| age >= SignedDuration::ZERO && age < margins.settle) || Mutation::ClockBelieved.is_active() {
            return Clock::confirmed(now);
        }
        let made = |id: PointId| i64::try_from(id.timestamp_ms()).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        Clock::judged(now, entries.values().flatten().filter_map(|entry| made(entry.id)), margins)
    }

    /// What becomes of every point of a machine. One and the same for the lists of points, previews, `prune` and `collect`.
    ///
    /// # Errors
    /// As the store. A point that cannot be read is in `unreadable`.
    pub async fn keeping(&self, vault: &Vault, name: &ItemName, entries: Vec<PointEntry>, clock: &Clock) -> Result<Keeping> {
        let member = self.member(name);
        let with_machine = self.deleted_until(member);
        let mut keeping = Keeping::default();
        let mut looked = Vec::new();
        let listings = vault.read_points(name, entries).await;
        let look = |listing: PointListing| async move {
            match listing.point {
                Ok(point) => look(vault, name, listing.entry, point, with_machine).await.map(Ok),
                Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
                Err(error) => Ok(Err((listing.id, error))),
            }
        };
        let mut looks = stream::iter(listings.into_iter().map(look)).buffered(MARKS_IN_FLIGHT);
        while let Some(found) = looks.try_next().await? {
            match found {
                Ok(found) => looked.push(found),
                Err(unreadable) => keeping.unreadable.push(unreadable),
            }
        }
        let facts: Vec<PointFacts> = looked.iter().map(|looked| looked.facts).collect();
        let verdicts = self.verdicts(member, &facts, clock)?;
        let kept = |(Looked { entry, point, .. }, verdict)| Kept { entry, point, verdict };
        keeping.points = looked.into_iter().zip(verdicts).map(kept).collect();
        Ok(keeping)
    }

    /// The retention that a replica has for all machines, if it has one.
    fn own_retention(&self) -> Option<&Retention> {
        let pairing = self.settings.pairing.as_ref().filter(|_| self.settings.is_replica())?;
        self.policies.get(pairing.retention.as_ref()?).map(|record| &record.policy.retention)
    }

    /// Until when a machine that was deleted with its points can be undeleted. What the primary deletes does not reach its replica.
    fn deleted_until(&self, member: Option<&Member>) -> Option<Timestamp> {
        match member.map(|member| &member.item.protection) {
            Some(Protection::Deleted { until, .. }) if !self.settings.is_replica() => Some(*until),
            _ => None,
        }
    }

    fn verdicts(&self, member: Option<&Member>, facts: &[PointFacts], clock: &Clock) -> Result<Vec<Verdict>> {
        let policy = member.and_then(|member| self.policy_of(member)).map(|record| &record.policy);
        let own = self.own_retention();
        let zone = policy.map_or(Ok(TimeZone::UTC), |policy| policy.zone())?;
        let protection = member.map(|member| &member.item.protection);
        let regime = match (protection, policy) {
            // A machine whose record is gone or cannot be read may have been stopped with its points retained.
            (None | Some(Protection::Retained { .. }), _) => Regime::Retained,
            // One of which it is open whose it is loses nothing that a policy could keep.
            (_, None) => Regime::NoPolicy,
            (_, Some(policy)) => Regime::Policy(own.unwrap_or(&policy.retention)),
        };
        Ok(plan(facts, regime, clock, &zone))
    }
}

async fn look(
    vault: &Vault,
    name: &ItemName,
    entry: PointEntry,
    point: Point,
    with_machine: Option<Timestamp>,
) -> Result<Looked> {
    let tombstone = match entry.deleted() {
        // A tombstone that cannot be read says nothing of when: its point stays undeletable.
        Some(seq) => match vault.read_mark(name, entry.id, seq, MarkKind::Deleted).await {
            Ok(mark) => mark.until.or(Some(Timestamp::MAX)),
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            Err(_) => Some(Timestamp::MAX),
        },
        None => None,
    };
    let facts = PointFacts {
        id: entry.id,
        instant: point.instant,
        good: entry.damaged().is_none(),
        on_demand: point.keep_until,
        hold: entry.held().is_some(),
        undelete_until: tombstone.max(with_machine),
    };
    Ok(Looked { entry, point, facts })
}
