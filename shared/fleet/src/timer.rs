use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_jobs::Request;
use stillpoint_model::{Error, ErrorKind, JobId, Result, Subject};
use stillpoint_vault::{Kind, Name, PLAN, Vault};

/// As large as its starts are many: all machines of a policy without a window begin at once.
const TICK: Kind = Kind { name: "tick", ..PLAN };
const SLOT: Kind = Kind::small("slot");

/// A job that a tick decided to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Whom the slot is of.
    pub subject: Subject,
    /// When it was due.
    pub due: Timestamp,
    /// The job to be.
    pub job: JobId,
    /// What it is to do, and where.
    pub request: Request,
    /// Whether the slot was caught up after nothing ran at its time.
    pub late: bool,
}

/// What the timer found and decided: the body of `ticks/<seq>.json`. Creating it decides: of ticks at the same moment only one
/// creates the next number, so limits on how many run at a time hold exactly. What it decided is then carried out by
/// whoever comes first, this tick or the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tick {
    /// When it looked: every slot that closed by then is settled or among the `missed`.
    pub at: Timestamp,
    /// Every job made before this instant has ended, but for the `unfinished`.
    pub jobs_through: Timestamp,
    /// Older jobs that have not ended.
    pub unfinished: Vec<JobId>,
    /// What it starts.
    pub starts: Vec<Start>,
    /// What it found to be missed.
    pub missed: Vec<SettledSlot>,
}

/// What became of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "settlement", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Settlement {
    /// It has its job.
    Started {
        /// The job.
        job: JobId,
        /// Nothing ran at its time; it was caught up.
        late: bool,
    },
    /// Nothing ran within its window.
    Missed {
        /// How many slots in a row were missed up to this one.
        slots: u32,
        /// When the first of them was due.
        since: Timestamp,
    },
}

/// A slot that is settled: the body of `slots/<due>/<subject>.json`. Exactly one can be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettledSlot {
    /// Whom it is of.
    pub subject: Subject,
    /// When it was due.
    pub due: Timestamp,
    /// When it was settled.
    pub at: Timestamp,
    /// How.
    pub settlement: Settlement,
}

impl Tick {
    /// The newest tick on record and its number; `None` before the first.
    ///
    /// # Errors
    /// `corrupt`; as the store.
    pub async fn newest(vault: &Vault) -> Result<Option<(u32, Self)>> {
        let listed = vault.store().list(Name::TICKS).await?;
        let seq = listed.iter().filter_map(|entry| match entry.name.parse() {
            Ok(Name::Tick(seq)) => Some(seq),
            _ => None,
        });
        match seq.max() {
            Some(seq) => Ok(Some((seq, vault.read_record(TICK, &Name::Tick(seq)).await?))),
            None => Ok(None),
        }
    }

    /// Puts the tick on record; whether it was the first with this number.
    ///
    /// # Errors
    /// As the store.
    pub async fn record(&self, vault: &Vault, seq: u32) -> Result<bool> {
        created(vault.create_record(TICK, &Name::Tick(seq), self).await.map(drop))
    }
}

impl SettledSlot {
    /// The slots due at `from` or later that are settled; one listing.
    ///
    /// # Errors
    /// As the store.
    pub async fn since(vault: &Vault, from: Timestamp) -> Result<Vec<(Timestamp, Subject)>> {
        let listed = vault.store().list_from(Name::SLOTS, &Name::slots_folder(from)).await?;
        let slot = |text: &str| match text.parse() {
            Ok(Name::Slot(due, subject)) => Some((due, subject)),
            _ => None,
        };
        Ok(listed.iter().filter_map(|entry| slot(&entry.name)).collect())
    }

    /// Whether a slot is settled.
    ///
    /// # Errors
    /// As the store.
    pub async fn exists(vault: &Vault, due: Timestamp, subject: &Subject) -> Result<bool> {
        match vault.store().size(&Name::Slot(due, subject.clone()).to_string()).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Settles the slot; whether nobody else had.
    ///
    /// # Errors
    /// As the store.
    pub async fn settle(&self, vault: &Vault) -> Result<bool> {
        created(vault.create_record(SLOT, &Name::Slot(self.due, self.subject.clone()), self).await.map(drop))
    }

    /// Reads a settled slot.
    ///
    /// # Errors
    /// `missing`, `corrupt`; as the store.
    pub async fn read(vault: &Vault, due: Timestamp, subject: &Subject) -> Result<Self> {
        vault.read_record(SLOT, &Name::Slot(due, subject.clone())).await
    }
}

fn created(outcome: Result<()>) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
        Err(error) => Err(Error::context(error, "the timer's log")),
    }
}
