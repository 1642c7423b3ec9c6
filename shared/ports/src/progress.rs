use stillpoint_model::JobId;

/// Told how far a job is; for people, nothing rests on it.
pub trait Progress: Send + Sync {
    /// The job will move `bytes` in all, of which `done` were moved by earlier attempts.
    fn planned(&self, job: JobId, bytes: u64, done: u64);

    /// Another `bytes` were moved.
    fn moved(&self, job: JobId, bytes: u64);
}

/// Tells nobody.
impl Progress for () {
    fn planned(&self, _job: JobId, _bytes: u64, _done: u64) {}

    fn moved(&self, _job: JobId, _bytes: u64) {}
}
