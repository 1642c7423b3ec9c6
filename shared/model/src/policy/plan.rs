//! Retention: what becomes of each recovery point of a machine.
//!
//! Each rule that applies to a point gives it an end, by the point's own instant and the local calendar; the point is kept until
//! the latest of them. No end depends on the time of planning, so no clock can shorten one. The time only decides which ends have
//! passed, and only if [`Clock`] believes it.
//!
//! A point made on demand is kept as long as was asked for. It takes no part in the policy's rules: it neither gains by them nor
//! takes the place of a scheduled point. A damaged point keeps what it would have if it were whole, and the first good point of
//! its day (week, month, year) is kept beside it: the damage may be mendable, or the finding wrong. A deleted point takes no
//! part at all; the next good one of its day takes its place.

use std::collections::BTreeSet;

use jiff::{Timestamp, tz::TimeZone};

use super::{
    Retention,
    clock::Clock,
    retention::Unit,
    verdict::{Act, PointFacts, Reason, Regime, Rule, Verdict},
};

/// The verdict on every point of one machine, in the order given.
///
/// `zone` is that of the policy ([`Policy::zone`](super::Policy::zone)). The verdicts do not depend on the order of `points`.
#[must_use]
pub fn plan(points: &[PointFacts], regime: Regime<'_>, clock: &Clock, zone: &TimeZone) -> Vec<Verdict> {
    let mut ledger = Ledger::new(points);
    ledger.own_reasons(regime, clock.now());
    if let Regime::Policy(retention) = regime {
        ledger.calendar(retention, zone);
        let keep_last = usize::try_from(retention.keep_last.unwrap_or(0)).unwrap_or(usize::MAX);
        ledger.last(keep_last, Rule::KeepLast, clock.now(), |point| point.good && point.on_demand.is_none());
    }
    ledger.newest(clock.now());
    points.iter().zip(ledger.reasons).map(|(point, reasons)| verdict(point, reasons, clock)).collect()
}

/// The reasons found so far for each point.
struct Ledger<'a> {
    points: &'a [PointFacts],
    /// Places of the points that are not deleted, oldest first.
    live: Vec<usize>,
    reasons: Vec<Vec<Reason>>,
}

impl<'a> Ledger<'a> {
    fn new(points: &'a [PointFacts]) -> Self {
        let mut live: Vec<usize> = (0..points.len()).filter(|place| points[*place].undelete_until.is_none()).collect();
        live.sort_unstable_by_key(|place| (points[*place].instant, points[*place].id));
        Self { points, live, reasons: vec![Vec::new(); points.len()] }
    }

    fn add(&mut self, place: usize, rule: Rule, until: Option<Timestamp>) {
        self.reasons[place].push(Reason { rule, until });
    }

    /// What a point says of itself, and what the machine says of all its points.
    fn own_reasons(&mut self, regime: Regime<'_>, now: Timestamp) {
        for (place, point) in self.points.iter().enumerate() {
            let is_live = point.undelete_until.is_none();
            let ends = [(Rule::OnDemand, point.on_demand.filter(|_| is_live)), (Rule::Deleted, point.undelete_until)];
            for (rule, until) in ends {
                if until.is_some() {
                    self.add(place, rule, until);
                }
            }
            let facts = [
                (Rule::Hold, point.hold),
                (Rule::FromFuture, is_live && point.instant > now),
                (Rule::Retained, is_live && regime == Regime::Retained),
                (Rule::NoPolicy, is_live && regime == Regime::NoPolicy && point.on_demand.is_none()),
            ];
            for (rule, _) in facts.into_iter().filter(|(_, holds)| *holds) {
                self.add(place, rule, None);
            }
        }
    }

    /// First points of local days, weeks, months and years.
    fn calendar(&mut self, retention: &Retention, zone: &TimeZone) {
        let rules = [Rule::Daily, Rule::Weekly, Rule::Monthly, Rule::Yearly].into_iter().zip(Unit::ALL);
        let rules: Vec<_> = rules.filter_map(|(rule, unit)| Some((rule, unit, retention.count(unit)?))).collect();
        // Sets, as local days do not only rise where clocks are set back over midnight.
        let mut seen = vec![[BTreeSet::new(), BTreeSet::new()]; rules.len()];
        for place in self.live.clone() {
            let point = self.points[place];
            if point.on_demand.is_some() {
                continue;
            }
            let local = point.instant.to_zoned(zone.clone());
            for ((rule, unit, count), [any, good]) in rules.iter().zip(&mut seen) {
                let key = unit.of(&local);
                let is_first = any.insert(key);
                let is_first_good = point.good && good.insert(key);
                if is_first || is_first_good {
                    self.add(place, *rule, Some(unit.after(&local, *count)));
                }
            }
        }
    }

    /// The last `count` points that `counts`. Those from the future are kept as such, and must not push out real ones.
    fn last(&mut self, count: usize, rule: Rule, now: Timestamp, counts: impl Fn(&PointFacts) -> bool) {
        let points = self.points;
        let counted = |place: &usize| points[*place].instant <= now && counts(&points[*place]);
        let last: Vec<usize> = self.live.iter().rev().copied().filter(counted).take(count).collect();
        for place in last {
            self.add(place, rule, None);
        }
    }

    /// The newest good point; where there is none, all points.
    fn newest(&mut self, now: Timestamp) {
        let points = self.points;
        if self.live.iter().any(|place| points[*place].good && points[*place].instant <= now) {
            self.last(1, Rule::NewestGood, now, |point| point.good);
        } else {
            self.last(usize::MAX, Rule::NoGoodPoint, now, |_| true);
        }
    }
}

fn verdict(point: &PointFacts, mut reasons: Vec<Reason>, clock: &Clock) -> Verdict {
    let is_deleted = point.undelete_until.is_some();
    let ends_open = reasons.iter().any(|reason| reason.until.is_none());
    let last_end = reasons.iter().filter_map(|reason| reason.until).max();
    let keep_until = (!ends_open).then(|| last_end.unwrap_or(point.instant));
    let is_over = keep_until.is_some_and(|until| until <= clock.now());
    if is_over && clock.doubt().is_some() {
        reasons.push(Reason { rule: Rule::ClockInDoubt, until: clock.doubt().map(|doubt| doubt.until) });
    }
    reasons.sort_unstable_by_key(|reason| reason.rule);
    let act = match (is_over && clock.doubt().is_none(), is_deleted) {
        (false, false) => Act::Keep,
        (true, false) => Act::Prune,
        (false, true) => Act::StayDeleted,
        (true, true) => Act::Free,
    };
    Verdict { id: point.id, act, keep_until, reasons }
}
