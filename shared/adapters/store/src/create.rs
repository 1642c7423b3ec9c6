use bytes::Bytes;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};
use stillpoint_model::{Error, ErrorKind, Requests, Result};

use crate::{Store, failure::classify};

/// Bytes read back to tell our object from somebody else's. Every body carries its writer's attempt id or a random salt
/// within its first 4 KiB, so equal size and equal head mean the same writer; creates are atomic in every store.
const COMPARED_BYTES: usize = 4096;

impl Store {
    /// Creates `name` with the concatenation of `parts`, if it does not exist.
    ///
    /// A create whose outcome is unknown (time-out, reset, a retry inside the client that met its own first try) is settled
    /// here by reading back: `Ok` means that our bytes are there.
    ///
    /// # Errors
    /// `conflict` when the name is taken by other bytes; `unavailable` when nothing is there after all; `denied`; `missing`
    /// where there is no such bucket; `invalid` where the store does not take such a request.
    pub async fn create(&self, name: &str, parts: Vec<Bytes>) -> Result<()> {
        let path = self.path(name)?;
        self.present()?;
        let size_bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let head = head(&parts);
        self.count(Requests { put: 1, ..Requests::default() });
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let stream = self.throttle.begin(size_bytes).await;
        let Err(error) = self.inner.put_opts(&path, PutPayload::from_iter(parts), options).await else { return Ok(()) };
        drop(stream);
        let error = classify("write", name, error);
        match error.kind() {
            // A directory is made where there is none, so the file that was to become the object is what is gone.
            ErrorKind::Missing if self.directory.is_some() => {
                Err(Error::unavailable(format!("cannot write {name}: what was written of it was removed")).with_source(error))
            }
            // The store understood and refused: nothing was written.
            ErrorKind::Denied | ErrorKind::Invalid | ErrorKind::Missing => Err(error),
            _ => self.settle(name, size_bytes, &head, error).await,
        }
    }

    async fn settle(&self, name: &str, size_bytes: u64, head: &Bytes, error: Error) -> Result<()> {
        match self.size(name).await {
            Ok(found) if found == size_bytes => {}
            Ok(_) => return Err(taken(name)),
            Err(look) => return Err(unsettled(error, look)),
        }
        match self.get_range(name, 0..head.len() as u64).await {
            Ok(found) if found == *head => Ok(()),
            Ok(_) => Err(taken(name)),
            Err(look) => Err(unsettled(error, look)),
        }
    }
}

/// What to say when the look at a create's outcome failed. "Taken" may mean by our own first try: while nobody can look,
/// it is not known to be a conflict. Where nothing is there, somebody else was only about to write (S3's 409).
fn unsettled(error: Error, look: Error) -> Error {
    match (error.kind(), look.kind()) {
        (ErrorKind::Conflict, ErrorKind::Unavailable) => look,
        (ErrorKind::Conflict, ErrorKind::Missing) => {
            Error::unavailable("the store said that the name is taken, and nothing is there").with_source(error.one_line())
        }
        _ => error,
    }
}

fn taken(name: &str) -> Error {
    Error::conflict(format!("{name} already exists"))
}

fn head(parts: &[Bytes]) -> Bytes {
    let bytes = parts.iter().flat_map(|part| part.iter().copied());
    bytes.take(COMPARED_BYTES).collect::<Vec<u8>>().into()
}
