use std::fmt;

use jiff::{Timestamp, civil::DateTime};

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a pipe, a socket, or what only its own system understands.
    Special,
}

impl EntryKind {
    /// Its name in listings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Link => "link",
            Self::Special => "special",
        }
    }
}

/// When a file was changed, as far as its file system knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modified {
    /// An instant.
    At(Timestamp),
    /// A time of the clock on the wall, in a zone that FAT does not write down.
    Local(DateTime),
}

impl fmt::Display for Modified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(instant) => write!(f, "{instant:.0}"),
            Self::Local(time) => write!(f, "{time:.0}"),
        }
    }
}

/// A file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, which may be anything; see [`shown`].
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Size of what it holds.
    pub size_bytes: u64,
    /// When it was changed last.
    pub modified: Option<Modified>,
    /// Permission bits, where the file system has them.
    pub mode: Option<u16>,
    /// Where a link leads.
    pub target: Option<Vec<u8>>,
}

/// A name or path that can be printed: bytes that are no UTF-8 as `\xNN`, what terminals obey as escapes, a backslash doubled.
#[must_use]
pub fn shown(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                // The second kind separates lines or changes the direction of text.
                '\0'..='\x1f'
                | '\x7f'..='\u{9f}'
                | '\u{2028}'
                | '\u{2029}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' => {
                    text.extend(c.escape_unicode());
                }
                _ => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_so_that_they_can_be_printed_and_told_apart() {
        assert_eq!(shown("Grüße.txt".as_bytes()), "Grüße.txt");
        assert_eq!(shown(b"a\xffb\n\x1b[2J\\xff"), "a\\xffb\\u{a}\\u{1b}[2J\\\\xff");
        assert_eq!(shown("\u{202e}gpj".as_bytes()), "\\u{202e}gpj");
    }
}
