use serde::Serialize;
use stillpoint_model::{AlarmKind, AlarmState, Error, JobId, PointId, Result, Subject, VaultId};
use stillpoint_ports::Notice;

/// The body of a request; `infra/README.md` describes it for receivers.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    event_type: &'static str,
    alarm: AlarmKind,
    state: AlarmState,
    subject: &'a Subject,
    text: &'a str,
    at: String,
    vault: VaultId,
    job: Option<JobId>,
    points: &'a [PointId],
}

/// The header `webhook-id`: the same in every repeat, so that a receiver can drop those. A full stop ends it in what is signed, so it
/// has none: `~` stands in its place, which no name has.
pub fn id(notice: &Notice) -> String {
    format!("{}/{}/{}", notice.vault, notice.alarm, notice.seq).replace('.', "~")
}

/// The body of a notice.
pub fn body(notice: &Notice) -> Result<Vec<u8>> {
    let body = Body {
        event_type: if notice.state == AlarmState::Resolved { "alarm.resolved" } else { "alarm.raised" },
        alarm: notice.alarm.kind,
        state: notice.state,
        subject: &notice.alarm.subject,
        text: &notice.text,
        at: format!("{:.3}", notice.at),
        vault: notice.vault,
        job: notice.job,
        points: &notice.points,
    };
    serde_json::to_vec(&body).map_err(|error| Error::internal("cannot write JSON").with_source(error))
}
