use std::fmt;

/// What the one who gets an error should do; eight kinds, because eight different things are done (table in `runtime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A store, platform or target does not answer now; the same step may be tried again.
    Unavailable,
    /// Somebody else holds or already made what this step wanted.
    Conflict,
    /// A newer attempt, or a cancellation, has overtaken this one; it must stop without a trace.
    Fenced,
    /// The request can never succeed as given.
    Invalid,
    /// Something that was named does not exist.
    Missing,
    /// The key, credential or permission at hand does not allow it.
    Denied,
    /// Bytes do not authenticate or decode. Never retried, never deleted.
    Corrupt,
    /// A bug or an unexpected answer of the machine.
    Internal,
}

impl ErrorKind {
    /// The kind's stable name in logs and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Fenced => "fenced",
            Self::Invalid => "invalid",
            Self::Missing => "missing",
            Self::Denied => "denied",
            Self::Corrupt => "corrupt",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error of a port, the vault, a job or a handler: its kind, a lowercase one-line message, and its cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Source>,
}

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! constructors {
    ($($function:ident => $kind:ident),* $(,)?) => {
        $(
            #[doc = concat!("An error of kind [`ErrorKind::", stringify!($kind), "`].")]
            #[must_use]
            pub fn $function(message: impl Into<String>) -> Self {
                Self::new(ErrorKind::$kind, message)
            }
        )*
    };
}

impl Error {
    /// An error of `kind`; the message is lowercase and does not repeat the source.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    constructors! {
        unavailable => Unavailable, conflict => Conflict, fenced => Fenced, invalid => Invalid,
        missing => Missing, denied => Denied, corrupt => Corrupt, internal => Internal,
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts what was being attempted before the message; kind and source stay.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// What the receiver should do.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The whole chain on one printable line, outermost first. Causes may repeat what somebody else wrote: nothing in them that
    /// terminals obey, or that turns text around, gets through.
    #[must_use]
    pub fn one_line(&self) -> String {
        let mut line = self.message.clone();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            next = cause.source();
        }
        line.chars().fold(String::with_capacity(line.len()), |mut shown, c| {
            match c {
                '\n' | '\r' | '\t' => shown.push(' '),
                _ if is_command(c) => shown.extend(c.escape_unicode()),
                _ => shown.push(c),
            }
            shown
        })
    }
}

/// Control characters, separators of lines, and what changes the direction of text.
fn is_command(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<std::io::Error> for Error {
    /// Kinds an operator can act on keep their meaning; the rest is `internal`.
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound | Io::NotADirectory => ErrorKind::Missing,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
            Io::AlreadyExists => ErrorKind::Conflict,
            Io::InvalidInput | Io::IsADirectory | Io::FileTooLarge => ErrorKind::Invalid,
            // A full disk may be emptied and the step repeated, like any other passing trouble.
            Io::StorageFull | Io::QuotaExceeded | Io::TimedOut | Io::Interrupted | Io::ResourceBusy => ErrorKind::Unavailable,
            _ => ErrorKind::Internal,
        };
        Self { kind, message: error.to_string(), source: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_shows_the_chain_without_repeating_it() {
        let error = Error::unavailable("cannot read disk os")
            .with_source(std::io::Error::other("bus\nerror"))
            .context("backup of web-01");
        assert_eq!(error.one_line(), "backup of web-01: cannot read disk os: bus error");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[test]
    fn one_line_shows_what_a_terminal_would_obey() {
        let error = Error::invalid("no field \u{1b}[2J\tnor \u{202e}ß").with_source(std::io::Error::other("\0\u{2028}"));
        assert_eq!(error.one_line(), "no field \\u{1b}[2J nor \\u{202e}ß: \\u{0}\\u{2028}");
    }
}
