use jiff::Timestamp;
use stillpoint_format::digest;
use stillpoint_model::{Error, JobId, Result};
use ulid::Ulid;

/// The id of the job that `cause`, of the instant `at`, asks for. The same cause gives the same id, so that asking twice makes one job;
/// nothing has to be remembered for it. `at` is to be of the last half hour: the timer looks for jobs whose ids are of the last hour, and one
/// that is made with an older id would be driven on a day later only, should its messages be lost.
///
/// # Errors
/// `invalid` for an instant before 1970.
pub fn derived_id(at: Timestamp, cause: &str) -> Result<JobId> {
    let ms = u64::try_from(at.as_millisecond()).map_err(|_| Error::invalid(format!("{at} is before 1970")))?;
    let hash = digest(cause.as_bytes());
    let random = u128::from_str_radix(&hash[..20], 16).map_err(|_| Error::internal("a digest is hexadecimal"))?;
    Ok(JobId::new(Ulid::from_parts(ms, random)))
}
