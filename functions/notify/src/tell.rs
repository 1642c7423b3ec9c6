use std::sync::Arc;

use stillpoint_events::{AlarmChanged, Envelope};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_model::{AlarmKey, AlarmState, Error, ErrorKind, Result};
use stillpoint_ports::{Messenger, Notice};
use stillpoint_vault::{Alarm, Alarms, Vault};

/// Who is told, beside the log.
#[derive(Clone)]
pub enum Telling {
    /// A receiver.
    Receiver(Arc<dyn Messenger>),
    /// Whoever reads the log.
    Log,
    /// Nobody here: the log goes nowhere. Who runs the timer tells it.
    Elsewhere,
}

/// Tells of alarms.
pub struct Tell {
    vault: Vault,
    telling: Telling,
}

impl Tell {
    /// The handler over its ports.
    #[must_use]
    pub const fn new(vault: Vault, telling: Telling) -> Self {
        Self { vault, telling }
    }

    async fn tell(&self, event: &AlarmChanged) -> Result<()> {
        let (key, record) = self.record(event).await?;
        let alarms = self.vault.alarms().await?;
        let standing = alarms.0.get(&key);
        // Of a record that another one followed, the other is told.
        if standing.is_none_or(|standing| standing.told || standing.last != (event.seq, event.state)) {
            return Ok(());
        }
        log(&key, &record);
        match &self.telling {
            Telling::Elsewhere => Ok(()),
            Telling::Log => self.vault.told(&alarms, &key).await,
            Telling::Receiver(receiver) => self.send(receiver.as_ref(), &alarms, key, event.seq, record).await,
        }
    }

    /// The record that an event names. The event itself proves nothing.
    async fn record(&self, event: &AlarmChanged) -> Result<(AlarmKey, Alarm)> {
        let forged = |why: &str| Error::fenced(format!("an event names a record of an alarm that {why}"));
        if event.state == AlarmState::Told {
            return Err(forged("says nothing that anybody has to know"));
        }
        let key = AlarmKey { kind: event.kind, subject: event.subject.parse().map_err(|_| forged("has no subject"))? };
        match self.vault.alarm(&key, event.seq, event.state).await {
            Ok(record) if record.alarm == key && record.state == event.state => Ok((key, record)),
            Ok(_) => Err(forged("is of another alarm")),
            Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
            Err(error) => Err(forged("does not exist or is not authentic").with_source(error)),
        }
    }

    async fn send(&self, receiver: &dyn Messenger, alarms: &Alarms, alarm: AlarmKey, seq: u32, record: Alarm) -> Result<()> {
        let Alarm { state, at, text, job, points, .. } = record;
        let notice = Notice { vault: self.vault.identity().id, alarm, seq, state, at, text, job, points };
        match receiver.send(&notice).await {
            Ok(()) => self.vault.told(alarms, &notice.alarm).await,
            Err(error) => {
                let why = error.one_line();
                tracing::error!(alarm = %notice.alarm, state = %notice.state, "nobody could be told; the timer tries again: {why}");
                Ok(())
            }
        }
    }
}

/// The log is read where nothing else works: both states are warnings, so that none is filtered out without the other.
fn log(key: &AlarmKey, record: &Alarm) {
    let job = record.job.map(|job| job.to_string());
    let points = record.points.len();
    tracing::warn!(alarm = %key, state = %record.state, at = %record.at, job, points, "{}", record.text);
}

impl Handler for Tell {
    type Event = AlarmChanged;

    async fn handle(&self, event: Envelope<AlarmChanged>, _invocation: &Invocation) -> Result<Effects> {
        match self.tell(&event.data).await {
            // No job counts the tries of this event, and it is not lost: the timer publishes it again as long as nobody was told.
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!("an alarm waits until the vault answers: {}", error.one_line());
                Ok(Effects::none())
            }
            outcome => outcome.map(|()| Effects::none()),
        }
    }
}
