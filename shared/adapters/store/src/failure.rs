use object_store::Error as StoreError;
use stillpoint_model::{Error, ErrorKind};

use crate::refusal::{Refusal, short};

/// Where AWS keeps an instance's credentials. Asking there is the last resort, so failing there means that none were given.
const INSTANCE_CREDENTIALS: [&str; 2] = ["/latest/api/token", "/latest/meta-data/iam"];

/// Gives a store's error the kind that the host's table acts on; `name` is the object's name in the vault.
pub(crate) fn classify(action: &str, name: &str, error: StoreError) -> Error {
    let what = || format!("cannot {action} {}", if name.is_empty() { "the vault" } else { name });
    let refusal = Refusal::of(&root(&error));
    if let Some((kind, advice)) = refusal.verdict().filter(|_| !is_outcome(&error)) {
        return told(Error::new(kind, format!("{}: {advice}", what())), &refusal);
    }
    let kind = kind(&error);
    if kind == ErrorKind::Missing {
        return match action {
            "write" | "list" => told(Error::missing(format!("{}: its bucket, container or folder is gone", what())), &refusal),
            _ => Error::missing(format!("{name} does not exist in the vault")),
        };
    }
    if asked_the_instance(&error) {
        return Error::new(kind, format!("{}: no credentials in the environment, and this machine has no role", what()))
            .with_source(short(&root(&error)));
    }
    match refusal.words() {
        Some(_) => told(Error::new(kind, what()), &refusal),
        None => Error::new(kind, what()).with_source(short(&root(&error))),
    }
}

/// Whether just the object is not there, and not its bucket.
pub(crate) fn is_gone(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { .. }) && Refusal::of(&root(error)).verdict().is_none()
}

fn told(error: Error, refusal: &Refusal) -> Error {
    match refusal.words() {
        Some(words) => error.with_source(words),
        None => error,
    }
}

/// Answers that every store gives in the course of things, whatever its words.
fn is_outcome(error: &StoreError) -> bool {
    matches!(error, StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } | StoreError::NotModified { .. })
}

fn kind(error: &StoreError) -> ErrorKind {
    match error {
        StoreError::NotFound { .. } => ErrorKind::Missing,
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => ErrorKind::Conflict,
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => ErrorKind::Denied,
        StoreError::InvalidPath { .. } | StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => {
            ErrorKind::Invalid
        }
        _ => match io_cause(error).map(|cause| Error::from(std::io::Error::from(cause)).kind()) {
            // A local directory's own kinds say more than `internal`, which is for bugs.
            None | Some(ErrorKind::Internal) => ErrorKind::Unavailable,
            Some(kind) => kind,
        },
    }
}

fn causes(error: &StoreError) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |cause| cause.source())
}

fn io_cause(error: &StoreError) -> Option<std::io::ErrorKind> {
    causes(error).find_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind)
}

fn asked_the_instance(error: &StoreError) -> bool {
    causes(error).any(|cause| {
        let text = cause.to_string();
        INSTANCE_CREDENTIALS.iter().any(|path| text.contains(path))
    })
}

/// The innermost cause as text: the layers above it repeat each other and the object's name.
fn root(error: &StoreError) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}
