//! What holds for retention whatever the points and the policy.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use proptest::prelude::*;
use stillpoint_model::{
    PointId,
    policy::{Act, Clock, PointFacts, Regime, Retention, Rule, plan},
};
use ulid::Ulid;

use crate::examples::at;

const START: &str = "2026-01-01T00:00:00Z";

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").expect("a zone")
}

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

fn scheduled(number: u128, instant: Timestamp) -> PointFacts {
    let id = PointId::new(Ulid::from_parts(1, number));
    PointFacts { id, instant, good: true, on_demand: None, hold: false, undelete_until: None }
}

/// Points of up to 400 days, some damaged, on demand, held or deleted; several may share an instant.
fn any_points() -> impl Strategy<Value = Vec<PointFacts>> {
    let later = || proptest::option::weighted(0.1, 0..2_000_i64);
    let point = (0..9_600_i64, prop::bool::weighted(0.85), later(), prop::bool::weighted(0.05), later());
    prop::collection::vec(point, 0..60).prop_map(|drawn| {
        let points = drawn.into_iter().enumerate().map(|(number, (hour, good, on_demand, hold, deleted))| {
            let instant = at(START) + hours(hour);
            let end = |after: Option<i64>| after.map(|after| instant + hours(after));
            let (on_demand, undelete_until) = (end(on_demand), end(deleted));
            PointFacts { good, on_demand, hold, undelete_until, ..scheduled(number as u128, instant) }
        });
        points.collect()
    })
}

fn any_retention() -> impl Strategy<Value = Retention> {
    let rule = |most: u32| proptest::option::of(1..=most);
    (rule(40), rule(12), rule(14), rule(3), rule(5)).prop_map(|(daily, weekly, monthly, yearly, keep_last)| Retention {
        daily,
        weekly,
        monthly,
        yearly,
        keep_last,
    })
}

/// The same or more of each rule.
fn more(retention: Retention) -> impl Strategy<Value = Retention> {
    let rule = |given: Option<u32>| {
        proptest::option::of(0..20_u32).prop_map(move |more| match (given, more) {
            (Some(given), more) => Some(given + more.unwrap_or(0)),
            (None, more) => more.filter(|more| *more > 0),
        })
    };
    let Retention { daily, weekly, monthly, yearly, keep_last } = retention;
    (rule(daily), rule(weekly), rule(monthly), rule(yearly), rule(keep_last))
        .prop_map(|(daily, weekly, monthly, yearly, keep_last)| Retention { daily, weekly, monthly, yearly, keep_last })
}

fn any_now() -> impl Strategy<Value = Timestamp> {
    (-500..30_000_i64).prop_map(|hour| at(START) + hours(hour))
}

/// Points that are pruned or freed.
fn gone(points: &[PointFacts], retention: &Retention, now: Timestamp) -> BTreeSet<PointId> {
    let found = plan(points, Regime::Policy(retention), &Clock::confirmed(now), &berlin());
    found.into_iter().filter(|verdict| matches!(verdict.act, Act::Prune | Act::Free)).map(|verdict| verdict.id).collect()
}

proptest! {
    #[test]
    fn more_retention_never_deletes_more(
        points in any_points(),
        (less, more) in any_retention().prop_flat_map(|less| (Just(less), more(less))),
        now in any_now(),
    ) {
        prop_assert!(gone(&points, &more, now).is_subset(&gone(&points, &less, now)));
    }

    #[test]
    fn the_newest_good_point_is_never_pruned(points in any_points(), retention in any_retention(), now in any_now()) {
        let gone = gone(&points, &retention, now);
        let live = || points.iter().filter(|point| point.undelete_until.is_none());
        let newest = |points: &mut dyn Iterator<Item = &PointFacts>| points.max_by_key(|point| (point.instant, point.id)).map(|point| point.id);
        let of_all = newest(&mut live().filter(|point| point.good));
        let of_past = newest(&mut live().filter(|point| point.good && point.instant <= now));
        prop_assert!(of_all.is_none_or(|id| !gone.contains(&id)));
        prop_assert!(of_past.is_none_or(|id| !gone.contains(&id)));
        prop_assert!(of_all.is_some() || live().all(|point| !gone.contains(&point.id)), "no good point: all are kept");
    }

    #[test]
    fn the_last_points_are_never_pruned(points in any_points(), count in 1..6_u32, now in any_now()) {
        let gone = gone(&points, &Retention { keep_last: Some(count), ..Retention::default() }, now);
        let mut counted: Vec<&PointFacts> = points.iter()
            .filter(|point| point.good && point.on_demand.is_none() && point.undelete_until.is_none() && point.instant <= now).collect();
        counted.sort_by_key(|point| (point.instant, point.id));
        prop_assert!(counted.iter().rev().take(count as usize).all(|point| !gone.contains(&point.id)));
    }

    #[test]
    fn the_order_of_the_points_does_not_matter(
        (points, shuffled) in any_points().prop_flat_map(|points| (Just(points.clone()), Just(points).prop_shuffle())),
        retention in any_retention(),
        now in any_now(),
    ) {
        let verdicts = |points: &[PointFacts]| {
            let mut found = plan(points, Regime::Policy(&retention), &Clock::confirmed(now), &berlin());
            assert!(found.iter().map(|verdict| verdict.id).eq(points.iter().map(|point| point.id)), "in the order given");
            found.sort_by_key(|verdict| verdict.id);
            found
        };
        prop_assert_eq!(verdicts(&points), verdicts(&shuffled));
    }

    #[test]
    fn planning_what_is_left_prunes_nothing_more(points in any_points(), retention in any_retention(), now in any_now()) {
        let first = gone(&points, &retention, now);
        let left: Vec<PointFacts> = points.iter().filter(|point| !first.contains(&point.id)).copied().collect();
        prop_assert_eq!(gone(&left, &retention, now), BTreeSet::new());
        let tombstoned: Vec<PointFacts> = points.iter().map(|point| {
            let is_pruned = first.contains(&point.id) && point.undelete_until.is_none();
            PointFacts { undelete_until: if is_pruned { Some(now + hours(336)) } else { point.undelete_until }, ..*point }
        }).collect();
        let freed: BTreeSet<PointId> = points.iter()
            .filter(|point| point.undelete_until.is_some() && first.contains(&point.id)).map(|point| point.id).collect();
        prop_assert_eq!(gone(&tombstoned, &retention, now), freed, "nor with the tombstones in sight");
    }

    #[test]
    fn time_only_adds_to_what_is_pruned(points in any_points(), retention in any_retention(), now in any_now(), wait in 0..20_000_i64) {
        let later = now + hours(wait);
        prop_assert!(gone(&points, &retention, now).is_subset(&gone(&points, &retention, later)));
    }

    #[test]
    fn no_end_of_a_calendar_rule_depends_on_the_time_of_planning(
        points in any_points(), retention in any_retention(), now in any_now(), other in any_now(),
    ) {
        let ends = |now| -> Vec<Vec<_>> {
            let found = plan(&points, Regime::Policy(&retention), &Clock::confirmed(now), &berlin());
            found.into_iter().map(|verdict| verdict.reasons.into_iter().filter(|reason| reason.until.is_some()).collect()).collect()
        };
        prop_assert_eq!(ends(now), ends(other));
    }

    #[test]
    fn nothing_is_pruned_before_its_keep_until(points in any_points(), retention in any_retention(), now in any_now()) {
        for verdict in plan(&points, Regime::Policy(&retention), &Clock::confirmed(now), &berlin()) {
            let is_over = verdict.keep_until.is_some_and(|until| until <= now);
            prop_assert_eq!(matches!(verdict.act, Act::Prune | Act::Free), is_over, "{:?}", verdict);
            let ends = verdict.reasons.iter().map(|reason| reason.until.unwrap_or(Timestamp::MAX)).max();
            prop_assert!(ends.is_none_or(|end| end == verdict.keep_until.unwrap_or(Timestamp::MAX)), "{:?}", verdict);
        }
    }
}

/// A year of hourly points of 50 machines, pruned each month as the year goes, ends with what the policy says: the days of the last
/// 30, the Mondays of the last 12 weeks, the first of each month and the last three.
#[test]
fn a_year_of_hourly_points_of_50_machines_ends_as_the_policy_says() {
    let retention = Retention { daily: Some(30), weekly: Some(12), monthly: Some(60), yearly: Some(10), keep_last: Some(3) };
    let zone = berlin();
    for machine in 0..50_u128 {
        let hourly = |hour: i64| scheduled(machine << 64 | u128::try_from(hour).expect("not negative"), at(START) + hours(hour));
        let year: Vec<PointFacts> = (0..8_760).map(hourly).collect();
        let now = at(START) + hours(8_760);
        let kept = |points: &[PointFacts], now| -> Vec<PointFacts> {
            let gone = gone(points, &retention, now);
            points.iter().filter(|point| !gone.contains(&point.id)).copied().collect()
        };
        let at_once = kept(&year, now);
        let mut by_month = Vec::new();
        for month in year.chunks(730) {
            by_month.extend_from_slice(month);
            by_month = kept(&by_month, month[month.len() - 1].instant + hours(1));
        }
        assert_eq!(at_once, by_month, "pruning often or once comes to the same");
        let found = plan(&at_once, Regime::Policy(&retention), &Clock::confirmed(now), &zone);
        let count = |rule: Rule| {
            let alive = |verdict: &&_| {
                let verdict: &stillpoint_model::policy::Verdict = verdict;
                verdict.reasons.iter().any(|reason| reason.rule == rule && reason.until.is_none_or(|until| until > now))
            };
            found.iter().filter(alive).count()
        };
        // By the clock of Berlin the year goes from 01:00 on the 1st of January to 00:00 on the next, which begins a day, a
        // month and a year of its own; the first of the 2nd of December has just had its 30 days.
        let counts = [Rule::Daily, Rule::Weekly, Rule::Monthly, Rule::Yearly, Rule::KeepLast, Rule::NewestGood].map(count);
        assert_eq!(counts, [30, 12, 13, 2, 3, 1]);
    }
}
