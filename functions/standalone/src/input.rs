//! Files that operators hand in.

use std::{fs::File, io::Read, path::Path};

use stillpoint_model::{Error, Result};

/// The text of a file, or for `-` of standard input; no more of it than one byte over the limit is read.
pub fn text(path: &Path, bytes_max: usize) -> Result<String> {
    let shown = shown(path);
    let cannot_read = |error: std::io::Error| Error::from(error).context(format!("cannot read {shown}"));
    let source: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(File::open(path).map_err(cannot_read)?),
    };
    let mut bytes = Vec::new();
    source.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(cannot_read)?;
    if bytes.len() > bytes_max {
        return Err(Error::invalid(format!("{shown} has more than {bytes_max} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| Error::invalid(format!("{shown} is not UTF-8 text")))
}

/// The path for messages.
pub fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}
