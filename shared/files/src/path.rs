use stillpoint_model::{Error, Result};

use crate::entry::shown;

/// Longest path that is looked for.
const PATH_BYTES_MAX: usize = 4096;

/// An absolute path in a file system: names between slashes, without `.` and `..`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumePath {
    names: Vec<Vec<u8>>,
}

impl VolumePath {
    /// Reads a path; it counts from the root, with or without a slash before it.
    ///
    /// # Errors
    /// `invalid` for `..`, zero bytes, and what is too long.
    pub fn parse(path: &[u8]) -> Result<Self> {
        if path.len() > PATH_BYTES_MAX || path.contains(&0) {
            return Err(Error::invalid(format!("a path has at most {PATH_BYTES_MAX} bytes, and none that is zero")));
        }
        let names: Vec<Vec<u8>> =
            path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).map(Vec::from).collect();
        if names.iter().any(|name| name == b"..") {
            return Err(Error::invalid(format!("give a path without '..', not '{}'", shown(path))));
        }
        Ok(Self { names })
    }

    /// The names, outermost first.
    #[must_use]
    pub fn names(&self) -> &[Vec<u8>] {
        &self.names
    }

    /// The innermost name; none for the root.
    #[must_use]
    pub fn last(&self) -> Option<&[u8]> {
        self.names.last().map(Vec::as_slice)
    }

    /// This path with one more name.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        Self { names: self.names.iter().cloned().chain([name.to_vec()]).collect() }
    }

    /// As bytes, with a slash before each name.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        if self.names.is_empty() {
            return b"/".to_vec();
        }
        self.names.iter().flat_map(|name| [b"/", name.as_slice()].concat()).collect()
    }

    /// For messages.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(&self.bytes())
    }
}

impl From<Vec<Vec<u8>>> for VolumePath {
    fn from(names: Vec<Vec<u8>>) -> Self {
        Self { names }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_count_from_the_root() {
        for (given, bytes) in [("", "/"), ("/", "/"), ("etc/hosts", "/etc/hosts"), ("//etc/./hosts/", "/etc/hosts")] {
            assert_eq!(VolumePath::parse(given.as_bytes()).expect(given).bytes(), bytes.as_bytes());
        }
        let long = vec![b'a'; 5000];
        for bad in [b"/etc/../x".as_slice(), b"..", b"a\0b", &long] {
            VolumePath::parse(bad).expect_err("refused");
        }
    }
}
