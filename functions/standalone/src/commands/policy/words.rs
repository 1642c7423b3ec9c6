//! Policies in a few words.

use stillpoint_model::policy::{Policy, Retention, Schedule};

/// Names written out; of more, how many there are.
const NAMES_SHOWN: usize = 10;

/// Some names, and how many more there are.
pub fn names<T: ToString>(names: &[T]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES_SHOWN).map(ToString::to_string).collect();
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A number of machines.
pub fn machines(count: usize) -> String {
    if count == 1 { "1 machine".to_owned() } else { format!("{count} machines") }
}

/// When it runs.
pub fn schedules(policy: &Policy) -> String {
    if policy.schedules.is_empty() {
        return "on request only".to_owned();
    }
    let rules: Vec<String> = policy.schedules.iter().map(schedule).collect();
    format!("{} {}", rules.join("; "), policy.time_zone())
}

fn schedule(schedule: &Schedule) -> String {
    let mut words = match (schedule.every, schedule.daily, &schedule.weekly) {
        (Some(every), ..) => format!("every {every}"),
        (None, Some(daily), _) => format!("daily {daily}"),
        (None, None, Some(weekly)) => {
            let days: Vec<String> = weekly.days.iter().map(|day| format!("{day:?}").to_lowercase()).collect();
            format!("{} {}", days.join(" "), weekly.at)
        }
        (None, None, None) => String::new(),
    };
    if let Some(window) = schedule.window {
        words.push_str(&format!(" over {window}"));
    }
    for blackout in &schedule.not_between {
        words.push_str(&format!(", not {blackout}"));
    }
    words
}

/// What it keeps.
pub fn retention(kept: &Retention) -> String {
    let rules = [(kept.daily, "daily"), (kept.weekly, "weekly"), (kept.monthly, "monthly"), (kept.yearly, "yearly")];
    let calendar = rules.into_iter().filter_map(|(count, rule)| Some(format!("{} {rule}", count?)));
    calendar.chain(kept.keep_last.map(|count| format!("last {count}"))).collect::<Vec<String>>().join(", ")
}
