//! What is said before and after.

use std::{process::ExitCode, time::Duration};

use serde_json::{Value, json};
use stillpoint_model::{Error, ErrorKind, Result};

use super::{End, Forecast, Machine, Place};
use crate::{
    commands::{duration_ms, ended_with, estimated_ms, outcome_of},
    failure, output,
    session::Session,
};

/// What is known before the first machine begins.
pub struct Head<'a> {
    pub machines: &'a [Machine],
    pub places: &'a [Place],
    pub forecast: &'a Forecast,
    pub expected: Duration,
    pub warnings: Vec<String>,
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Head<'_> {
    fn bytes(&self) -> u64 {
        self.machines.iter().map(|machine| machine.bytes).fold(0, u64::saturating_add)
    }

    fn expectation(&self) -> String {
        format!(
            "{} machines, {}, to {} targets: about {:.0} s",
            self.machines.len(),
            output::bytes(self.bytes()),
            self.places.len(),
            self.expected.as_secs_f64().max(1.0)
        )
    }

    /// Instead of restoring.
    pub fn estimate(&self, session: &Session) -> Result<ExitCode> {
        if session.global.json {
            let mut document = self.forecast.document(self.places);
            document["data_bytes"] = json!(self.bytes());
            document["estimated_ms"] = json!(milliseconds(self.expected));
            document["warnings"] = json!(self.warnings);
            output::json(&document)?;
        } else {
            let rows = self.places.iter().zip(&self.forecast.targets).map(|(place, measured)| {
                let speed = measured.map(|measured| format!("{}/s", output::bytes(measured.rate.per_second())));
                let free = measured.and_then(|measured| measured.free_bytes).map(output::bytes);
                vec![place.target.name.clone(), speed.unwrap_or_default(), free.unwrap_or_default()]
            });
            output::table(&["TARGET", ">SPEED", ">FREE"], rows.collect());
            output::line(&self.expectation());
        }
        Ok(ended_with(session, &self.warnings))
    }

    pub fn begin(&self, session: &Session) {
        if !session.global.json {
            output::line(&self.expectation());
        }
        self.warnings.iter().for_each(|warning| output::complain(&format!("warning: {warning}")));
    }

    /// Fails unless all are restored.
    pub fn end(&self, session: &Session, ends: &[End], took: Duration) -> Result<ExitCode> {
        let lost = ends.iter().filter(|end| end.result.is_err()).count();
        if session.global.json {
            let mut document = self.forecast.document(self.places);
            document["machines"] = ends.iter().map(|end| self.machine(end)).collect();
            document["duration_ms"] = json!(milliseconds(took));
            document["estimated_ms"] = json!(milliseconds(self.expected));
            document["warnings"] = json!(self.warnings);
            output::json(&document)?;
        } else {
            output::table(
                &["MACHINE", "TARGET", "STATE", ">WRITTEN", ">SECONDS", ">EXPECTED"],
                ends.iter().map(|end| self.row(end)).collect(),
            );
            let (took, expected) = (took.as_secs_f64(), self.expected.as_secs_f64());
            output::line(&format!(
                "{} of {} restored in {took:.1} s ({expected:.1} s were expected)",
                ends.len() - lost,
                ends.len()
            ));
        }
        match lost {
            0 if self.warnings.is_empty() => Ok(ExitCode::SUCCESS),
            0 => Ok(ExitCode::from(failure::WARNINGS)),
            lost => Err(Error::internal(format!("{lost} of {} machines were not restored", ends.len()))),
        }
    }

    fn target(&self, end: &End) -> Option<&str> {
        end.at.map(|at| self.places[at].target.name.as_str())
    }

    fn machine(&self, end: &End) -> Value {
        let machine = &self.machines[end.machine];
        let mut document = json!({
            "name": machine.wanted.name,
            "point": machine.chosen.point,
            "target": self.target(end),
        });
        match &end.result {
            Err(error) => {
                document["state"] = json!("failed");
                document["reason"] = json!(error.one_line());
            }
            Ok(job) => {
                document["job"] = json!(job.id);
                document["state"] = json!(job.state());
                document["duration_ms"] = json!(duration_ms(job));
                document["estimated_ms"] = json!(estimated_ms(job));
                document["disks"] = json!(outcome_of(job).map(|outcome| outcome.disks.clone()).unwrap_or_default());
            }
        }
        document
    }

    fn row(&self, end: &End) -> Vec<String> {
        let first = [self.machines[end.machine].wanted.name.to_string(), self.target(end).unwrap_or_default().to_owned()];
        let rest = match &end.result {
            Err(error) => {
                let state = if error.kind() == ErrorKind::Conflict { "there already" } else { "failed" };
                [state.to_owned(), String::new(), String::new(), String::new()]
            }
            Ok(job) => {
                let written = outcome_of(job).map(|outcome| outcome.disks.iter().filter_map(|disk| disk.written_bytes).sum());
                let seconds = |ms: u64| format!("{:.1}", ms as f64 / 1000.0);
                [
                    job.state().to_string(),
                    output::bytes(written.unwrap_or(0)),
                    seconds(duration_ms(job)),
                    estimated_ms(job).map(seconds).unwrap_or_default(),
                ]
            }
        };
        first.into_iter().chain(rest).collect()
    }
}
