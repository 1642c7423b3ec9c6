use object_store::Error as StoreError;
use stillpoint_model::{Error, ErrorKind};

/// Gives a store's error the kind that the host's table acts on; `name` is the object's name in the vault.
pub(crate) fn classify(action: &str, name: &str, error: StoreError) -> Error {
    let kind = match &error {
        StoreError::NotFound { .. } => ErrorKind::Missing,
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => ErrorKind::Conflict,
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => ErrorKind::Denied,
        StoreError::InvalidPath { .. } | StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => {
            ErrorKind::Invalid
        }
        StoreError::JoinError { .. } => ErrorKind::Internal,
        _ => io_cause(&error).map_or(ErrorKind::Unavailable, |cause| Error::from(std::io::Error::from(cause)).kind()),
    };
    // A local directory's own kinds say more than `internal`, which is for bugs.
    let kind = if kind == ErrorKind::Internal { ErrorKind::Unavailable } else { kind };
    match kind {
        ErrorKind::Missing => Error::missing(format!("{name} does not exist in the vault")),
        _ => Error::new(kind, format!("cannot {action} {name}")).with_source(root(error)),
    }
}

fn io_cause(error: &StoreError) -> Option<std::io::ErrorKind> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        next = cause.source();
    }
    None
}

/// The innermost cause as text: the layers above it repeat each other and the object's name.
fn root(error: StoreError) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
