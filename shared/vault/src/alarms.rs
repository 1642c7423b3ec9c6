use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::{AlarmKey, AlarmState, ErrorKind, JobId, PointId, Result};

use crate::{Kind, Name, Vault};

const ALARM: Kind = Kind::small("alarm");

/// Why an alarm was raised, or that it was resolved: the body of `alarms/<kind>/<subject>/<seq>-<state>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// Which alarm.
    pub alarm: AlarmKey,
    /// What this record says.
    pub state: AlarmState,
    /// When it was written.
    pub at: Timestamp,
    /// What happened and what to do, one line.
    pub text: String,
    /// The job it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The points it hurts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<PointId>,
}

/// What happened, for a new record of an alarm.
#[derive(Debug, Clone, Default)]
pub struct Occurrence {
    /// What happened and what to do, one line.
    pub text: String,
    /// The job it is about.
    pub job: Option<JobId>,
    /// The points it hurts.
    pub points: Vec<PointId>,
}

/// Where an alarm stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Number of the newest record.
    pub newest: u32,
    /// Number and state of the newest record that raised or resolved it.
    pub last: (u32, AlarmState),
    /// Somebody was told of that.
    pub told: bool,
}

/// All alarms that ever were, as the names of their records tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alarms(pub BTreeMap<AlarmKey, Standing>);

impl Alarms {
    /// Whether an alarm is open.
    #[must_use]
    pub fn is_open(&self, alarm: &AlarmKey) -> bool {
        self.0.get(alarm).is_some_and(|standing| standing.last.1 == AlarmState::Raised)
    }

    /// The open ones, with the number of the record that raised each.
    pub fn open(&self) -> impl Iterator<Item = (&AlarmKey, u32)> {
        self.0.iter().filter(|(_, standing)| standing.last.1 == AlarmState::Raised).map(|(key, standing)| (key, standing.last.0))
    }

    /// Records that nobody was told of.
    pub fn untold(&self) -> impl Iterator<Item = (&AlarmKey, u32)> {
        self.0.iter().filter(|(_, standing)| !standing.told).map(|(key, standing)| (key, standing.last.0))
    }
}

impl Vault {
    /// All alarms; one listing.
    ///
    /// # Errors
    /// As the store.
    pub async fn alarms(&self) -> Result<Alarms> {
        let mut alarms = BTreeMap::<AlarmKey, Standing>::new();
        for (key, seq, state) in self.alarm_records().await? {
            let standing = alarms.entry(key).or_insert(Standing { newest: seq, last: (seq, state), told: false });
            standing.newest = seq;
            match state {
                AlarmState::Told => standing.told = true,
                AlarmState::Raised | AlarmState::Resolved => (standing.last, standing.told) = ((seq, state), false),
            }
        }
        Ok(Alarms(alarms))
    }

    /// Numbers and states of the records of all alarms, in their order; one listing.
    ///
    /// # Errors
    /// As the store.
    pub async fn alarm_records(&self) -> Result<Vec<(AlarmKey, u32, AlarmState)>> {
        let record = |name| if let Name::Alarm(key, seq, state) = name { Some((key, seq, state)) } else { None };
        let mut records = self.names(Name::ALARMS, record).await?;
        records.sort_unstable();
        Ok(records)
    }

    /// Raises an alarm that is not open, or resolves one that is, and returns the record's number; `None` when there is nothing to do
    /// or somebody else did it at this moment.
    ///
    /// # Errors
    /// As the store.
    pub async fn set_alarm(
        &self,
        alarms: &Alarms,
        alarm: &AlarmKey,
        raised: bool,
        occurrence: Occurrence,
    ) -> Result<Option<u32>> {
        if alarms.is_open(alarm) == raised {
            return Ok(None);
        }
        let state = if raised { AlarmState::Raised } else { AlarmState::Resolved };
        self.append_alarm(alarms, alarm, state, occurrence).await
    }

    /// Raises an alarm that is open once more, because it has become worse: somebody is to be told again. Returns the record's number, as
    /// [`Vault::set_alarm`].
    ///
    /// # Errors
    /// As the store.
    pub async fn worsen_alarm(&self, alarms: &Alarms, alarm: &AlarmKey, occurrence: Occurrence) -> Result<Option<u32>> {
        if alarms.is_open(alarm) { self.append_alarm(alarms, alarm, AlarmState::Raised, occurrence).await } else { Ok(None) }
    }

    /// Records that somebody was told of an alarm's newest record.
    ///
    /// # Errors
    /// As the store.
    pub async fn told(&self, alarms: &Alarms, alarm: &AlarmKey) -> Result<()> {
        self.append_alarm(alarms, alarm, AlarmState::Told, Occurrence::default()).await.map(drop)
    }

    async fn append_alarm(
        &self,
        alarms: &Alarms,
        alarm: &AlarmKey,
        state: AlarmState,
        occurrence: Occurrence,
    ) -> Result<Option<u32>> {
        let seq = alarms.0.get(alarm).map_or(0, |standing| standing.newest) + 1;
        let Occurrence { text, job, points } = occurrence;
        let body = Alarm { alarm: alarm.clone(), state, at: self.clock().now(), text, job, points };
        match self.create_record(ALARM, &Name::Alarm(alarm.clone(), seq, state), &body).await {
            Ok(_) => Ok(Some(seq)),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a record of an alarm.
    ///
    /// # Errors
    /// `missing`, `corrupt`; as the store.
    pub async fn alarm(&self, alarm: &AlarmKey, seq: u32, state: AlarmState) -> Result<Alarm> {
        self.read_record(ALARM, &Name::Alarm(alarm.clone(), seq, state)).await
    }
}
