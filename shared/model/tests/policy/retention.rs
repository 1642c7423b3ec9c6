//! What each rule of retention keeps, and until when.

use jiff::{Timestamp, tz::TimeZone};
use stillpoint_model::{
    PointId,
    policy::{Act, Clock, ClockMargins, PointFacts, Regime, Retention, Rule, Verdict, plan},
};
use ulid::Ulid;

use crate::examples::{at, shown};

const NONE: Retention = Retention { daily: None, weekly: None, monthly: None, yearly: None, keep_last: None };

fn point(instant: &str) -> PointFacts {
    let instant = at(instant);
    let ms = u64::try_from(instant.as_millisecond()).expect("after 1970");
    PointFacts {
        id: PointId::new(Ulid::from_parts(ms, 7)),
        instant,
        good: true,
        on_demand: None,
        hold: false,
        undelete_until: None,
    }
}

/// Later than all points here: what is kept at this time has a reason without an end.
const LATE: &str = "2040-01-01T00:00:00Z";

fn verdicts(points: &[PointFacts], retention: Retention, now: &str) -> Vec<Verdict> {
    in_zone("UTC", points, retention, now)
}

fn in_zone(zone: &str, points: &[PointFacts], retention: Retention, now: &str) -> Vec<Verdict> {
    let zone = TimeZone::get(zone).expect("a zone");
    plan(points, Regime::Policy(&retention), &Clock::confirmed(at(now)), &zone)
}

fn rules(verdict: &Verdict) -> Vec<Rule> {
    verdict.reasons.iter().map(|reason| reason.rule).collect()
}

/// Until when a rule keeps a point, by the clock of Berlin.
fn until(verdict: &Verdict, rule: Rule) -> Option<String> {
    let reason = verdict.reasons.iter().find(|reason| reason.rule == rule)?;
    Some(shown(reason.until?, "Europe/Berlin"))
}

#[test]
fn daily_keeps_the_first_good_point_of_each_local_day() {
    let points = [
        point("2026-03-01T22:30:00Z"), // 23:30 on the 1st in Berlin
        point("2026-03-01T23:30:00Z"), // 00:30 on the 2nd
        point("2026-03-02T12:00:00Z"),
        point("2026-03-02T23:00:00Z"), // 00:00 on the 3rd
        point("2026-03-03T08:00:00Z"),
    ];
    let daily = Retention { daily: Some(30), ..NONE };
    let found = in_zone("Europe/Berlin", &points, daily, "2026-03-03T09:00:00Z");
    let kept: Vec<_> = found.iter().map(|verdict| until(verdict, Rule::Daily)).collect();
    assert_eq!(
        kept,
        [
            Some("2026-03-31T23:30+02:00".to_owned()),
            Some("2026-04-01T00:30+02:00".to_owned()),
            None,
            Some("2026-04-02T00:00+02:00".to_owned()),
            None,
        ],
        "30 days by the calendar, though one has 23 hours"
    );
    let acts: Vec<Act> = found.iter().map(|verdict| verdict.act).collect();
    assert_eq!(acts, [Act::Keep, Act::Keep, Act::Prune, Act::Keep, Act::Keep], "the last one is the newest good point");
}

#[test]
fn weekly_keeps_the_first_good_point_of_each_iso_week() {
    let points = [
        point("2026-12-27T12:00:00Z"), // Sunday of week 52
        point("2026-12-28T12:00:00Z"), // Monday of week 53
        point("2027-01-03T12:00:00Z"), // Sunday of week 53 of 2026
        point("2027-01-04T12:00:00Z"), // Monday of week 1
    ];
    let found = verdicts(&points, Retention { weekly: Some(12), ..NONE }, "2027-01-05T00:00:00Z");
    let firsts: Vec<bool> = found.iter().map(|verdict| rules(verdict).contains(&Rule::Weekly)).collect();
    assert_eq!(firsts, [true, true, false, true]);
    assert_eq!(found[1].keep_until, Some(at("2027-03-22T12:00:00Z")));
}

#[test]
fn a_month_after_the_31st_of_january_is_the_last_of_february() {
    for (made, months, kept_until) in [
        ("2026-01-31T22:00:00Z", 1, "2026-02-28T22:00:00Z"),
        ("2028-01-31T22:00:00Z", 1, "2028-02-29T22:00:00Z"),
        ("2026-01-31T22:00:00Z", 2, "2026-03-31T22:00:00Z"),
        ("2026-08-31T22:00:00Z", 6, "2027-02-28T22:00:00Z"),
        ("2026-12-15T22:00:00Z", 60, "2031-12-15T22:00:00Z"),
    ] {
        let found = verdicts(&[point(made)], Retention { monthly: Some(months), ..NONE }, made);
        assert_eq!(found[0].reasons[0].until, Some(at(kept_until)), "{made} and {months} months");
    }
}

#[test]
fn a_year_after_the_29th_of_february_is_the_28th() {
    let found = verdicts(&[point("2028-02-29T22:00:00Z")], Retention { yearly: Some(1), ..NONE }, "2028-03-01T00:00:00Z");
    assert_eq!(found[0].reasons[0].until, Some(at("2029-02-28T22:00:00Z")));
    let found = verdicts(&[point("2028-02-29T22:00:00Z")], Retention { yearly: Some(4), ..NONE }, "2028-03-01T00:00:00Z");
    assert_eq!(found[0].reasons[0].until, Some(at("2032-02-29T22:00:00Z")));
}

#[test]
fn monthly_and_yearly_keep_the_first_good_point_of_the_local_month_and_year() {
    let points = [point("2026-12-31T22:30:00Z"), point("2026-12-31T23:30:00Z"), point("2027-01-01T23:30:00Z")];
    let retention = Retention { monthly: Some(3), yearly: Some(2), ..NONE };
    let found = in_zone("Europe/Berlin", &points, retention, "2027-01-02T00:00:00Z");
    assert_eq!(rules(&found[0]), [Rule::Monthly, Rule::Yearly]);
    assert_eq!(rules(&found[1]), [Rule::Monthly, Rule::Yearly], "it is 2027 in Berlin");
    assert_eq!(rules(&found[2]), [Rule::NewestGood]);
}

#[test]
fn a_point_is_kept_until_the_latest_of_its_ends() {
    let points = [point("2026-06-01T00:00:00Z"), point("2026-06-30T00:00:00Z")];
    let retention = Retention { daily: Some(30), weekly: Some(12), monthly: Some(60), yearly: Some(10), keep_last: None };
    let found = verdicts(&points, retention, "2026-07-01T00:00:00Z");
    assert_eq!(rules(&found[0]), [Rule::Daily, Rule::Weekly, Rule::Monthly, Rule::Yearly]);
    assert_eq!(found[0].keep_until, Some(at("2036-06-01T00:00:00Z")));
    assert_eq!(found[1].keep_until, None, "the newest good point has no end");
}

#[test]
fn a_point_is_pruned_at_its_end_and_not_before() {
    let points = [point("2026-06-01T00:00:00Z"), point("2026-06-02T00:00:00Z")];
    let daily = Retention { daily: Some(7), ..NONE };
    assert_eq!(verdicts(&points, daily, "2026-06-07T23:59:59Z")[0].act, Act::Keep);
    let found = verdicts(&points, daily, "2026-06-08T00:00:00Z");
    assert_eq!((found[0].act, found[0].why().as_str()), (Act::Prune, "daily: over since 2026-06-08T00:00:00Z"));
}

#[test]
fn the_newest_good_point_and_the_last_ones_are_never_pruned() {
    let mut points: Vec<_> = (1..=5).map(|day| point(&format!("2026-06-0{day}T00:00:00Z"))).collect();
    let acts = |points: &[PointFacts], retention| -> Vec<Act> {
        verdicts(points, retention, LATE).into_iter().map(|verdict| verdict.act).collect()
    };
    let keep_3 = Retention { keep_last: Some(3), ..NONE };
    let daily = Retention { daily: Some(1), ..NONE };
    assert_eq!(acts(&points, keep_3), [Act::Prune, Act::Prune, Act::Keep, Act::Keep, Act::Keep]);
    assert_eq!(acts(&points, daily), [Act::Prune, Act::Prune, Act::Prune, Act::Prune, Act::Keep]);
    points[4].good = false;
    assert_eq!(acts(&points, keep_3), [Act::Prune, Act::Keep, Act::Keep, Act::Keep, Act::Prune], "damaged ones do not count");
    assert_eq!(acts(&points, daily), [Act::Prune, Act::Prune, Act::Prune, Act::Keep, Act::Prune]);
}

#[test]
fn a_machine_without_any_good_point_keeps_all_it_has() {
    let points = ["2026-06-01T00:00:00Z", "2026-06-01T01:00:00Z"].map(|instant| PointFacts { good: false, ..point(instant) });
    let found = verdicts(&points, Retention { keep_last: Some(1), ..NONE }, LATE);
    assert!(found.iter().all(|verdict| verdict.act == Act::Keep && rules(verdict) == [Rule::NoGoodPoint]), "{found:?}");
}

#[test]
fn a_damaged_point_keeps_its_place_and_the_first_good_one_is_kept_beside_it() {
    let hours = ["00", "01", "02", "03", "04"];
    let mut points = hours.map(|hour| point(&format!("2026-06-01T{hour}:00:00Z")));
    (points[0].good, points[1].good) = (false, false);
    let found = verdicts(&points, Retention { daily: Some(7), ..NONE }, "2026-06-02T00:00:00Z");
    let acts: Vec<Act> = found.iter().map(|verdict| verdict.act).collect();
    assert_eq!(acts, [Act::Keep, Act::Prune, Act::Keep, Act::Prune, Act::Keep]);
    assert_eq!(found[0].keep_until, Some(at("2026-06-08T00:00:00Z")));
}

#[test]
fn a_point_on_demand_is_kept_as_long_as_was_asked_whatever_the_policy() {
    let asked = PointFacts { on_demand: Some(at("2026-07-01T00:00:00Z")), ..point("2026-06-01T00:00:00Z") };
    let points = [asked, point("2026-06-01T01:00:00Z"), point("2026-06-02T00:00:00Z")];
    let yearly = Retention { yearly: Some(10), ..NONE };
    let found = verdicts(&points, yearly, "2026-06-30T23:59:59Z");
    assert_eq!((found[0].act, rules(&found[0])), (Act::Keep, vec![Rule::OnDemand]));
    assert_eq!(rules(&found[1]), [Rule::Yearly], "it does not take the place of a scheduled point");
    assert_eq!(verdicts(&points, yearly, "2026-07-01T00:00:00Z")[0].act, Act::Prune, "nor has it a place itself");
    let newest = [point("2026-05-01T00:00:00Z"), asked];
    assert_eq!(rules(&verdicts(&newest, yearly, LATE)[1]), [Rule::OnDemand, Rule::NewestGood]);
    let last = Retention { keep_last: Some(1), ..NONE };
    assert_eq!(rules(&verdicts(&newest, last, LATE)[0]), [Rule::KeepLast], "it pushes no scheduled point out of the last ones");
}

#[test]
fn a_held_point_is_neither_pruned_nor_freed() {
    let held = PointFacts { hold: true, ..point("2026-06-01T00:00:00Z") };
    let deleted = PointFacts { undelete_until: Some(at("2026-06-20T00:00:00Z")), ..held };
    let points = [held, PointFacts { instant: at("2026-06-01T01:00:00Z"), ..deleted }, point("2026-06-02T00:00:00Z")];
    let found = verdicts(&points, Retention { keep_last: Some(1), ..NONE }, LATE);
    assert_eq!((found[0].act, rules(&found[0]), found[0].keep_until), (Act::Keep, vec![Rule::Hold], None));
    assert_eq!((found[1].act, rules(&found[1])), (Act::StayDeleted, vec![Rule::Hold, Rule::Deleted]));
}

#[test]
fn a_deleted_point_can_be_undeleted_until_its_window_ends_and_leaves_its_place_to_the_next() {
    let mut points = ["00", "01", "02"].map(|hour| point(&format!("2026-06-01T{hour}:00:00Z")));
    points[0].undelete_until = Some(at("2026-06-15T00:00:00Z"));
    let daily = Retention { daily: Some(30), ..NONE };
    let found = verdicts(&points, daily, "2026-06-14T23:59:59Z");
    assert_eq!((found[0].act, rules(&found[0])), (Act::StayDeleted, vec![Rule::Deleted]));
    assert_eq!(rules(&found[1]), [Rule::Daily], "it is the first of the day now");
    let found = verdicts(&points, daily, "2026-06-15T00:00:00Z");
    assert_eq!((found[0].act, found[0].why().as_str()), (Act::Free, "deleted: over since 2026-06-15T00:00:00Z"));
}

#[test]
fn a_machine_that_was_stopped_and_retained_loses_nothing() {
    let asked = PointFacts { on_demand: Some(at("2026-06-02T00:00:00Z")), ..point("2026-06-01T00:00:00Z") };
    let points = [asked, point("2026-06-01T01:00:00Z"), point("2026-06-02T00:00:00Z")];
    let found = plan(&points, Regime::Retained, &Clock::confirmed(at(LATE)), &TimeZone::UTC);
    assert!(found.iter().all(|verdict| verdict.act == Act::Keep && rules(verdict).contains(&Rule::Retained)), "{found:?}");
}

#[test]
fn a_machine_without_a_policy_loses_only_what_was_made_for_a_time() {
    let asked = PointFacts { on_demand: Some(at("2026-06-02T00:00:00Z")), ..point("2026-06-01T00:00:00Z") };
    let points = [asked, point("2026-06-01T01:00:00Z"), point("2026-06-02T00:00:00Z")];
    let found = plan(&points, Regime::NoPolicy, &Clock::confirmed(at(LATE)), &TimeZone::UTC);
    let acts: Vec<Act> = found.iter().map(|verdict| verdict.act).collect();
    assert_eq!(acts, [Act::Prune, Act::Keep, Act::Keep]);
}

#[test]
fn a_longer_policy_keeps_longer_what_is_still_there() {
    let points: Vec<_> = (1..=9).map(|day| point(&format!("2026-06-0{day}T00:00:00Z"))).collect();
    let pruned = |days| {
        let found = verdicts(&points, Retention { daily: Some(days), ..NONE }, "2026-06-09T12:00:00Z");
        found.iter().filter(|verdict| verdict.act == Act::Prune).count()
    };
    assert_eq!([1, 3, 8, 9].map(pruned), [8, 6, 1, 0]);
}

#[test]
fn points_made_while_the_clock_was_ahead_push_out_no_real_ones() {
    let real: Vec<_> = (1..=4).map(|day| point(&format!("2026-06-0{day}T00:00:00Z"))).collect();
    let ahead: Vec<_> = (1..=3).map(|day| point(&format!("2027-06-0{day}T00:00:00Z"))).collect();
    let points = [real, ahead].concat();
    let found = verdicts(&points, Retention { keep_last: Some(2), ..NONE }, "2026-06-05T00:00:00Z");
    let acts: Vec<Act> = found.iter().map(|verdict| verdict.act).collect();
    assert_eq!(acts[..2], [Act::Prune, Act::Prune]);
    assert_eq!(acts[2..], [Act::Keep; 5], "the last two real ones, and all that is not yet judged");
    assert!(rules(&found[3]).contains(&Rule::NewestGood));
    assert_eq!(rules(&found[6]), [Rule::FromFuture]);
}

#[test]
fn a_good_point_from_the_future_is_no_reason_to_drop_damaged_ones() {
    let damaged = PointFacts { good: false, ..point("2026-06-01T00:00:00Z") };
    let found =
        verdicts(&[damaged, point("2027-06-01T00:00:00Z")], Retention { keep_last: Some(1), ..NONE }, "2026-06-05T00:00:00Z");
    assert_eq!((found[0].act, rules(&found[0])), (Act::Keep, vec![Rule::NoGoodPoint]));
}

#[test]
fn a_deleted_point_goes_when_its_window_ends_whatever_it_was_kept_for() {
    let undelete_until = Some(at("2026-06-20T00:00:00Z"));
    let asked = PointFacts { on_demand: Some(at(LATE)), undelete_until, ..point("2026-06-01T00:00:00Z") };
    let points = [asked, PointFacts { undelete_until, ..point("2026-06-02T00:00:00Z") }];
    for regime in [Regime::NoPolicy, Regime::Retained] {
        let found = plan(&points, regime, &Clock::confirmed(at("2026-06-20T00:00:00Z")), &TimeZone::UTC);
        assert!(found.iter().all(|verdict| verdict.act == Act::Free && rules(verdict) == [Rule::Deleted]), "{found:?}");
    }
    let found = verdicts(&points, Retention { keep_last: Some(1), ..NONE }, "2026-06-20T00:00:00Z");
    assert!(found.iter().all(|verdict| verdict.act == Act::Free), "not even the newest: it was an operator who deleted it");
}

/// A clock that jumps a year ahead while a policy keeps seven days: first nothing runs, then backups and prune run by it, then it
/// is set back.
#[test]
fn a_clock_set_a_year_ahead_and_back_loses_nothing() {
    let mut points: Vec<_> = (1..=9).map(|day| point(&format!("2026-06-0{day}T00:00:00Z"))).collect();
    points[0].undelete_until = Some(at("2026-06-22T00:00:00Z"));
    let daily = Retention { daily: Some(9), ..NONE };
    let acts = |points: &[PointFacts], now: &str| {
        let witnesses: Vec<Timestamp> = points.iter().map(|point| point.instant).collect();
        let clock = Clock::judged(at(now), witnesses, ClockMargins::DEFAULT);
        let found = plan(points, Regime::Policy(&daily), &clock, &TimeZone::UTC);
        assert!(found.iter().all(|verdict| clock.doubt().is_some() || !rules(verdict).contains(&Rule::ClockInDoubt)));
        found.iter().map(|verdict| verdict.act).collect::<Vec<Act>>()
    };
    let nothing = |count: usize| [vec![Act::StayDeleted], vec![Act::Keep; count - 1]].concat();
    assert_eq!(acts(&points, "2026-06-09T12:00:00Z"), nothing(9), "before");
    assert_eq!(acts(&points, "2027-06-09T12:00:00Z"), nothing(9), "ahead");
    for day in 1..=3 {
        points.push(point(&format!("2027-06-1{day}T00:00:00Z")));
        assert_eq!(acts(&points, &format!("2027-06-1{day}T12:00:00Z")), nothing(points.len()), "ahead, with backups");
    }
    assert_eq!(acts(&points, "2026-06-10T12:00:00Z")[..2], [Act::StayDeleted, Act::Keep], "back");
    assert_eq!(acts(&points, "2026-06-10T12:00:00Z"), nothing(12), "back");
}

#[test]
fn the_json_of_a_rule_is_the_name_on_screen() {
    for rule in [Rule::Daily, Rule::KeepLast, Rule::NewestGood, Rule::ClockInDoubt, Rule::FromFuture] {
        assert_eq!(serde_json::to_string(&rule).expect("a word"), format!("\"{rule}\""));
    }
}
