//! Every object name of a vault is made and parsed here.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use stillpoint_model::{
    AlarmKey, AlarmState, AttemptId, Error, ItemName, JobId, JobState, MarkKind, PointId, PolicyName, RequesterName, Result,
    Subject,
};

/// Segments whose markers share a folder.
pub const GROUP_SEGMENTS: u32 = 256;
/// Highest number in a sequence of records (six digits).
pub const SEQ_MAX: u32 = 999_999;

/// The name of a vault object. `Display` writes it, `FromStr` reads it; the two are inverse.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// `vault.json`
    Vault,
    /// `keys/<seq>.json`
    KeySlot(u32),
    /// `items/<item>/<seq>.json`
    Item(ItemName, u32),
    /// `policies/<policy>/<seq>.json`
    Policy(PolicyName, u32),
    /// `requesters/<requester>/<seq>.json`
    Requester(RequesterName, u32),
    /// `settings/<seq>.json`
    Settings(u32),
    /// `slots/<due>/<machine or @task>.json`: a slot of a schedule that has its job, or was missed; exactly one can be created.
    Slot(Timestamp, Subject),
    /// `ticks/<seq>.json`: what the timer found and decided. Ten digits: one a minute must do for centuries.
    Tick(u32),
    /// `snapshots/<item>/<job>/kept-<until>.json`: the snapshot of a backup that is kept for instant restore, until that instant.
    KeptSnapshot(ItemName, JobId, Timestamp),
    /// `snapshots/<item>/<job>/released.json`: it was given back.
    ReleasedSnapshot(ItemName, JobId),
    /// `alarms/<kind>/<machine or @task>/<seq>-<state>.json`
    Alarm(AlarmKey, u32, AlarmState),
    /// `fleet/<hash>.json`: the newest records of all machines and policies, whose names have this hash, in one object.
    Fleet(String),
    /// `collect/<seq>.json`: what one run of `collect` condemned, and the fate of what was condemned before.
    Collect(u32),
    /// `collect/<seq>-waits.json`: the jobs that must have ended before what the record condemned is deleted.
    CollectWaits(u32),
    /// `collect/census/<item>/<seq>.json`: which packs each of a machine's points needs, so that no run reads it again.
    Census(ItemName, u32),
    /// `jobs/<date>/<job>/<seq>-<state>.json`
    Ledger(JobId, u32, JobState),
    /// `jobs/<date>/<job>/plan`
    Plan(JobId),
    /// `jobs/<date>/<job>/decision`: how the job ends; exactly one can be created.
    Decision(JobId),
    /// `jobs/<date>/<job>/done/<group>/<segment>`
    Marker(JobId, u32),
    /// `jobs/<date>/<job>/groups/<group>`: all segments of the group have their markers.
    GroupMarker(JobId, u32),
    /// `packs/<item>/<job>/<group>/<segment>-<attempt>-<n>`
    Pack {
        /// The machine whose job wrote it.
        item: ItemName,
        /// The job.
        job: JobId,
        /// The segment.
        segment: u32,
        /// The try.
        attempt: AttemptId,
        /// Counts the packs of one try.
        number: u32,
    },
    /// `points/<item>/<point>/manifest-<attempt>`
    Manifest(ItemName, PointId, AttemptId),
    /// `points/<item>/<point>/point.json`
    Point(ItemName, PointId),
    /// `points/<item>/<point>/marks/<seq>-<mark>.json`
    Mark(ItemName, PointId, u32, MarkKind),
}

/// How instants are written in names: to the second, in UTC.
const INSTANT: &str = "%Y%m%dT%H%M%SZ";

fn instant(text: &str) -> Option<Timestamp> {
    DateTime::strptime(INSTANT, text).ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// The UTC day on which a job was made; its ledger lies in that day's folder.
fn job_date(job: JobId) -> Date {
    let instant = i64::try_from(job.timestamp_ms()).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    instant.unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(TimeZone::UTC).date()
}

impl Name {
    /// Folder of all key slots.
    pub const KEYS: &'static str = "keys";
    /// Folder of all machines' records.
    pub const ITEMS: &'static str = "items";
    /// Folder of all policies.
    pub const POLICIES: &'static str = "policies";
    /// Folder of all requesters.
    pub const REQUESTERS: &'static str = "requesters";
    /// Folder of the vault's settings.
    pub const SETTINGS: &'static str = "settings";
    /// Folder of all settled slots; its folders are the instants at which they were due, and sort by them.
    pub const SLOTS: &'static str = "slots";
    /// Folder of the timer's log.
    pub const TICKS: &'static str = "ticks";
    /// Folder of all kept snapshots.
    pub const SNAPSHOTS: &'static str = "snapshots";
    /// Folder of all alarms.
    pub const ALARMS: &'static str = "alarms";
    /// Folder of the fleet's digests.
    pub const FLEET: &'static str = "fleet";
    /// Folder of what `collect` condemned.
    pub const COLLECT: &'static str = "collect";
    /// Folder of all job ledgers; its folders are UTC days.
    pub const JOBS: &'static str = "jobs";
    /// Folder of all packs.
    pub const PACKS: &'static str = "packs";
    /// Folder of all recovery points.
    pub const POINTS: &'static str = "points";

    /// Folder of one machine's records.
    #[must_use]
    pub fn item_folder(item: &ItemName) -> String {
        format!("items/{item}")
    }

    /// Folder of one policy's records.
    #[must_use]
    pub fn policy_folder(policy: &PolicyName) -> String {
        format!("policies/{policy}")
    }

    /// Folder of one requester's records.
    #[must_use]
    pub fn requester_folder(requester: &RequesterName) -> String {
        format!("requesters/{requester}")
    }

    /// Folder of the slots due at an instant.
    #[must_use]
    pub fn slots_folder(due: Timestamp) -> String {
        format!("slots/{}", due.strftime(INSTANT))
    }

    /// Folder of one machine's kept snapshots.
    #[must_use]
    pub fn snapshots_folder(item: &ItemName) -> String {
        format!("snapshots/{item}")
    }

    /// Folder of one job's kept snapshot.
    #[must_use]
    pub fn snapshot_folder(item: &ItemName, job: JobId) -> String {
        format!("snapshots/{item}/{job}")
    }

    /// Folder of one alarm's records.
    #[must_use]
    pub fn alarm_folder(alarm: &AlarmKey) -> String {
        format!("alarms/{alarm}")
    }

    /// Folder of one point.
    #[must_use]
    pub fn point_folder(item: &ItemName, point: PointId) -> String {
        format!("points/{item}/{point}")
    }

    /// Folder of one day's jobs.
    #[must_use]
    pub fn day_folder(day: &str) -> String {
        format!("jobs/{day}")
    }

    /// Folder of one job.
    #[must_use]
    pub fn job_folder(job: JobId) -> String {
        format!("jobs/{}/{job}", job_date(job))
    }

    /// Folder of all markers of one job.
    #[must_use]
    pub fn markers_folder(job: JobId) -> String {
        format!("{}/done", Self::job_folder(job))
    }

    /// Folder of one group's markers.
    #[must_use]
    pub fn group_folder(job: JobId, group: u32) -> String {
        format!("{}/done/{group:04}", Self::job_folder(job))
    }

    /// Folder of the group markers of one job.
    #[must_use]
    pub fn groups_folder(job: JobId) -> String {
        format!("{}/groups", Self::job_folder(job))
    }

    /// Folder of one machine's packs.
    #[must_use]
    pub fn packs_folder(item: &ItemName) -> String {
        format!("packs/{item}")
    }

    /// Folder of one machine's points.
    #[must_use]
    pub fn points_folder(item: &ItemName) -> String {
        format!("points/{item}")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vault => f.write_str("vault.json"),
            Self::KeySlot(seq) => write!(f, "keys/{seq:06}.json"),
            Self::Item(item, seq) => write!(f, "items/{item}/{seq:06}.json"),
            Self::Policy(policy, seq) => write!(f, "policies/{policy}/{seq:06}.json"),
            Self::Requester(requester, seq) => write!(f, "requesters/{requester}/{seq:06}.json"),
            Self::Settings(seq) => write!(f, "settings/{seq:06}.json"),
            Self::Slot(due, subject) => write!(f, "{}/{subject}.json", Self::slots_folder(*due)),
            Self::Tick(seq) => write!(f, "ticks/{seq:010}.json"),
            Self::KeptSnapshot(item, job, until) => {
                write!(f, "{}/kept-{}.json", Self::snapshot_folder(item, *job), until.strftime(INSTANT))
            }
            Self::ReleasedSnapshot(item, job) => write!(f, "{}/released.json", Self::snapshot_folder(item, *job)),
            Self::Alarm(alarm, seq, state) => write!(f, "{}/{seq:06}-{state}.json", Self::alarm_folder(alarm)),
            Self::Fleet(hash) => write!(f, "fleet/{hash}.json"),
            Self::Collect(seq) => write!(f, "collect/{seq:06}.json"),
            Self::CollectWaits(seq) => write!(f, "collect/{seq:06}-waits.json"),
            Self::Census(item, seq) => write!(f, "collect/census/{item}/{seq:06}.json"),
            Self::Ledger(job, seq, state) => write!(f, "{}/{seq:06}-{state}.json", Self::job_folder(*job)),
            Self::Plan(job) => write!(f, "{}/plan", Self::job_folder(*job)),
            Self::Decision(job) => write!(f, "{}/decision", Self::job_folder(*job)),
            Self::Marker(job, segment) => write!(f, "{}/{segment:06}", Self::group_folder(*job, segment / GROUP_SEGMENTS)),
            Self::GroupMarker(job, group) => write!(f, "{}/{group:04}", Self::groups_folder(*job)),
            Self::Pack { item, job, segment, attempt, number } => {
                write!(f, "packs/{item}/{job}/{:04}/{segment:06}-{attempt}-{number:04}", segment / GROUP_SEGMENTS)
            }
            Self::Manifest(item, point, attempt) => write!(f, "points/{item}/{point}/manifest-{attempt}"),
            Self::Point(item, point) => write!(f, "points/{item}/{point}/point.json"),
            Self::Mark(item, point, seq, mark) => {
                write!(f, "{}/marks/{seq:06}-{mark}.json", Self::point_folder(item, *point))
            }
        }
    }
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// BLAKE3 in lowercase hex.
fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn parse(text: &str) -> Option<Name> {
    let parts: Vec<&str> = text.split('/').collect();
    let json = |part: &str| number(part.strip_suffix(".json")?);
    // `<seq>-<word>.json`
    let worded = |part: &'_ str| -> Option<(u32, String)> {
        let (seq, word) = part.strip_suffix(".json")?.split_once('-')?;
        Some((number(seq)?, word.to_owned()))
    };
    Some(match parts[..] {
        ["vault.json"] => Name::Vault,
        ["keys", seq] => Name::KeySlot(json(seq)?),
        ["items", item, seq] => Name::Item(item.parse().ok()?, json(seq)?),
        ["policies", policy, seq] => Name::Policy(policy.parse().ok()?, json(seq)?),
        ["requesters", requester, seq] => Name::Requester(requester.parse().ok()?, json(seq)?),
        ["settings", seq] => Name::Settings(json(seq)?),
        ["slots", due, subject] => Name::Slot(instant(due)?, subject.strip_suffix(".json")?.parse().ok()?),
        ["ticks", seq] => Name::Tick(json(seq)?),
        ["snapshots", item, job, "released.json"] => Name::ReleasedSnapshot(item.parse().ok()?, job.parse().ok()?),
        ["snapshots", item, job, kept] => {
            let until = kept.strip_prefix("kept-")?.strip_suffix(".json")?;
            Name::KeptSnapshot(item.parse().ok()?, job.parse().ok()?, instant(until)?)
        }
        ["alarms", kind, subject, record] => {
            let (seq, state) = worded(record)?;
            Name::Alarm(AlarmKey { kind: kind.parse().ok()?, subject: subject.parse().ok()? }, seq, state.parse().ok()?)
        }
        ["fleet", hash] => Name::Fleet(hash.strip_suffix(".json").filter(|hash| is_hash(hash))?.to_owned()),
        ["collect", record] => match worded(record) {
            Some((seq, word)) if word == "waits" => Name::CollectWaits(seq),
            _ => Name::Collect(json(record)?),
        },
        ["collect", "census", item, seq] => Name::Census(item.parse().ok()?, json(seq)?),
        ["jobs", _, job, "plan"] => Name::Plan(job.parse().ok()?),
        ["jobs", _, job, "decision"] => Name::Decision(job.parse().ok()?),
        ["jobs", _, job, record] => {
            let (seq, state) = worded(record)?;
            Name::Ledger(job.parse().ok()?, seq, state.parse().ok()?)
        }
        ["jobs", _, job, "groups", group] => Name::GroupMarker(job.parse().ok()?, number(group)?),
        ["jobs", _, job, "done", _, segment] => Name::Marker(job.parse().ok()?, number(segment)?),
        ["packs", item, job, _, pack] => {
            let mut fields = pack.split('-');
            let (segment, attempt, count) = (fields.next()?, fields.next()?, fields.next()?);
            Name::Pack {
                item: item.parse().ok()?,
                job: job.parse().ok()?,
                segment: number(segment)?,
                attempt: attempt.parse().ok()?,
                number: number(count)?,
            }
        }
        ["points", item, point, "point.json"] => Name::Point(item.parse().ok()?, point.parse().ok()?),
        ["points", item, point, "marks", record] => {
            let (seq, mark) = worded(record)?;
            Name::Mark(item.parse().ok()?, point.parse().ok()?, seq, mark.parse().ok()?)
        }
        ["points", item, point, manifest] => {
            Name::Manifest(item.parse().ok()?, point.parse().ok()?, manifest.strip_prefix("manifest-")?.parse().ok()?)
        }
        _ => return None,
    })
}

impl FromStr for Name {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        // Only the canonical spelling is a name: dates, groups and leading zeros are redundant and must agree.
        let name = parse(text).filter(|name| name.to_string() == text);
        name.ok_or_else(|| Error::invalid(format!("'{}' is not the name of a vault object", text.escape_debug())))
    }
}

#[cfg(test)]
mod tests {
    use stillpoint_model::Task;
    use ulid::Ulid;

    use super::*;

    #[test]
    fn every_kind_of_name_is_read_back_and_only_in_its_canonical_spelling() {
        let job = JobId::new(Ulid::from_parts(1_774_224_000_000, 5));
        let attempt = AttemptId::new(Ulid::from_parts(1, 6));
        let item: ItemName = "web-01".parse().unwrap();
        let point = PointId::new(Ulid::from_parts(2, 7));
        let names = [
            (Name::Vault, "vault.json".to_owned()),
            (Name::KeySlot(1), "keys/000001.json".to_owned()),
            (Name::Item(item.clone(), 12), "items/web-01/000012.json".to_owned()),
            (Name::Policy("daily".parse().unwrap(), 1), "policies/daily/000001.json".to_owned()),
            (Name::Requester("portal".parse().unwrap(), 1), "requesters/portal/000001.json".to_owned()),
            (Name::Settings(2), "settings/000002.json".to_owned()),
            (
                Name::Slot("2026-03-23T02:30:00Z".parse().unwrap(), Subject::Item(item.clone())),
                "slots/20260323T023000Z/web-01.json".to_owned(),
            ),
            (Name::Slot(Timestamp::UNIX_EPOCH, Subject::Task(Task::Prune)), "slots/19700101T000000Z/@prune.json".to_owned()),
            (Name::Tick(7), "ticks/0000000007.json".to_owned()),
            (
                Name::KeptSnapshot(item.clone(), job, "2026-03-25T02:30:01Z".parse().unwrap()),
                format!("snapshots/web-01/{job}/kept-20260325T023001Z.json"),
            ),
            (Name::ReleasedSnapshot(item.clone(), job), format!("snapshots/web-01/{job}/released.json")),
            (
                Name::Alarm("slot-missed/web-01".parse().unwrap(), 1, AlarmState::Raised),
                "alarms/slot-missed/web-01/000001-raised.json".to_owned(),
            ),
            (Name::Fleet("5e".repeat(32)), format!("fleet/{}.json", "5e".repeat(32))),
            (Name::Collect(3), "collect/000003.json".to_owned()),
            (Name::CollectWaits(3), "collect/000003-waits.json".to_owned()),
            (Name::Census(item.clone(), 4), "collect/census/web-01/000004.json".to_owned()),
            (Name::Mark(item.clone(), point, 1, MarkKind::Deleted), format!("points/web-01/{point}/marks/000001-deleted.json")),
            (
                Name::Ledger(job, 3, JobState::CompletedWithWarnings),
                format!("jobs/2026-03-23/{job}/000003-completed-with-warnings.json"),
            ),
            (Name::Plan(job), format!("jobs/2026-03-23/{job}/plan")),
            (Name::Decision(job), format!("jobs/2026-03-23/{job}/decision")),
            (Name::Marker(job, 257), format!("jobs/2026-03-23/{job}/done/0001/000257")),
            (Name::GroupMarker(job, 1), format!("jobs/2026-03-23/{job}/groups/0001")),
            (
                Name::Pack { item: item.clone(), job, segment: 300, attempt, number: 0 },
                format!("packs/web-01/{job}/0001/000300-{attempt}-0000"),
            ),
            (Name::Manifest(item.clone(), point, attempt), format!("points/web-01/{point}/manifest-{attempt}")),
            (Name::Point(item, point), format!("points/web-01/{point}/point.json")),
        ];
        for (name, text) in names {
            assert_eq!(name.to_string(), text);
            assert_eq!(text.parse::<Name>().unwrap(), name);
            for wrong in [
                format!("{text}/"),
                format!("/{text}"),
                format!("{text}x"),
                text.replace("03-23", "03-24"),
                text.replace("/0", "/00"),
            ] {
                assert!(wrong == text || wrong.parse::<Name>().is_err(), "{wrong}");
            }
        }
    }
}
