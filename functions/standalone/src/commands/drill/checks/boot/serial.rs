use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use regex_lite::Regex;
use stillpoint_model::{Error, Result};
use stillpoint_policy_file::BootSign;

use crate::{commands::drill::outside, start::SERIAL};

/// What is remembered of what was said last; a sign that is longer is not seen.
const HEARD_BYTES: usize = 64 * 1024;
/// What is read at a time.
const READ_BYTES: u64 = 1 << 20;
/// What a guest may say until it is ended: nobody's disk is to fill up with it.
const SAID_BYTES_MAX: u64 = 64 << 20;

/// What the first serial port says.
pub struct Serial {
    path: PathBuf,
    sign: Sign,
    /// Bytes read.
    read: u64,
    heard: Vec<u8>,
    has_said: bool,
}

enum Sign {
    None,
    Text(String),
    Pattern(Regex),
}

impl Serial {
    pub fn of(folder: &Path, sign: &BootSign) -> Result<Self> {
        let sign = match sign {
            BootSign::Agent => Sign::None,
            BootSign::Text(text) => Sign::Text(text.clone()),
            BootSign::Pattern(pattern) => {
                Sign::Pattern(Regex::new(pattern).map_err(|error| Error::invalid("the pattern is none").with_source(error))?)
            }
        };
        Ok(Self { path: folder.join(SERIAL), sign, read: 0, heard: Vec::new(), has_said: false })
    }

    /// Hears what was said since.
    pub fn read(&mut self) -> Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        file.seek(SeekFrom::Start(self.read))?;
        loop {
            let count = file.by_ref().take(READ_BYTES).read_to_end(&mut self.heard)?;
            if count == 0 {
                return Ok(());
            }
            self.read += count as u64;
            let text = String::from_utf8_lossy(&self.heard);
            self.has_said |= match &self.sign {
                Sign::None => false,
                Sign::Text(wanted) => text.contains(wanted),
                Sign::Pattern(pattern) => pattern.is_match(&text),
            };
            self.heard.drain(..self.heard.len().saturating_sub(HEARD_BYTES));
            if self.read > SAID_BYTES_MAX {
                return Err(Error::invalid(format!("the serial port says more than {} MiB", SAID_BYTES_MAX >> 20)));
            }
        }
    }

    /// Whether that was said which is waited for.
    pub const fn has_said(&self) -> bool {
        self.has_said
    }

    /// Its last lines.
    pub fn last(&self, count: usize) -> Vec<String> {
        outside::last(&outside::lines(&self.heard), count)
    }
}
