//! A report as a page: one file, no scripts, nothing fetched.

use std::fmt::Write;

use stillpoint_policy_file::DrillCheck;

use super::report::Report;
use crate::output;

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; width: 100%; margin-bottom: 1.5em }
th, td { text-align: left; vertical-align: top; padding: .3em .8em .3em 0; border-bottom: 1px solid #ddd }
th { white-space: nowrap; font-weight: 600 }
pre { margin: .3em 0 0; white-space: pre-wrap; font-size: 13px }
.passed { color: #166534 } .failed { color: #b91c1c } .skipped, .objective { color: #92400e }
</style>
"#;

/// The page of a report.
pub fn of(report: &Report) -> String {
    let title = format!("Drill of {}: {}", report.machine, report.verdict.as_str());
    let mut page = String::from(HEAD);
    let class = report.verdict.as_str().split(' ').next().unwrap_or_default();
    add(&mut page, format_args!("<title>{0}</title></head><body>\n<h1 class=\"{class}\">{0}</h1>\n<table>\n", escaped(&title)));
    for (name, value) in facts(report) {
        add(&mut page, format_args!("<tr><th>{name}</th><td>{}</td></tr>\n", escaped(&value)));
    }
    page.push_str("</table>\n<h2>Disks</h2>\n<table>\n<tr><th>disk</th><th>size</th><th>written</th></tr>\n");
    for disk in &report.restore.disks {
        let written = output::bytes(disk.written_bytes.unwrap_or(0));
        let (name, size) = (escaped(disk.name.as_str()), output::bytes(disk.size_bytes));
        add(&mut page, format_args!("<tr><td>{name}</td><td>{size}</td><td>{written}</td></tr>\n"));
    }
    page.push_str(
        "</table>\n<h2>Checks</h2>\n<table>\n<tr><th>check</th><th>outcome</th><th>time</th><th>what was found</th></tr>\n",
    );
    for checked in &report.checks {
        let (name, outcome, time) = (escaped(&checked.check), checked.outcome.as_str(), seconds(checked.duration_ms));
        let (summary, details) = (escaped(&checked.summary), escaped(&checked.details.join("\n")));
        let details = if details.is_empty() { details } else { format!("<pre>{details}</pre>") };
        add(
            &mut page,
            format_args!(
                "<tr><td>{name}</td><td class=\"{outcome}\">{outcome}</td><td>{time}</td><td>{summary}{details}</td></tr>\n"
            ),
        );
    }
    page.push_str("</table>\n<p>The document beside this page is signed and vouches for it: <code>stillpoint drill verify</code>.</p>\n</body></html>\n");
    page
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let restore = &report.restore;
    let point = report.point.map_or_else(|| "none was found".to_owned(), |point| point.to_string());
    let instant = report.instant.map_or_else(String::new, |instant| format!(", as of {instant:.0}"));
    let took = restore.duration_ms.map_or_else(String::new, |ms| format!(" in {}", seconds(ms)));
    let why = restore.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let objective = report.objective.as_ref().map_or_else(
        || "none was set".to_owned(),
        |objective| format!("{}, {}", seconds(objective.duration_ms), if objective.met { "met" } else { "not met" }),
    );
    let mut facts = vec![
        ("machine", report.machine.to_string()),
        ("recovery point", format!("{point}{instant}")),
        ("restored from", format!("{} ({}), vault {}", report.url, report.from, report.vault)),
        ("restore", format!("{}{took}{why}", restore.outcome.as_str())),
        ("written", output::bytes(restore.written_bytes)),
        ("objective", objective),
        ("boot", boot(report)),
        ("cleaned up", report.left_behind.clone().unwrap_or_else(|| "yes".to_owned())),
        ("began", format!("{:.0}", report.started)),
        ("ended", format!("{:.0}", report.ended)),
        ("operator", format!("{} on {}", report.operator, report.host)),
        ("drill", format!("{}, by {}", report.id, report.program)),
    ];
    facts.extend(report.plan.as_ref().map(|plan| ("plan", plan.to_string())));
    facts.extend(restore.warnings.iter().map(|warning| ("warning", warning.clone())));
    facts
}

/// How long it took, where it was looked at.
fn boot(report: &Report) -> String {
    let Some(checked) = report.checks.iter().find(|checked| checked.check == DrillCheck::Boot.as_str()) else {
        return "was not looked at".to_owned();
    };
    let took = checked.boot_ms.map_or_else(String::new, |ms| format!(" in {}", seconds(ms)));
    format!("{}{took}", checked.outcome.as_str())
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000)
}

fn add(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    page.write_fmt(text).ok();
}

/// Text as nothing but text, within elements and attributes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_others_wrote_is_text() {
        assert_eq!(escaped("<script>'&\""), "&lt;script&gt;&#39;&amp;&quot;");
    }
}
