//! The key file: JSON with the vault's id and a secret that opens one of its key slots.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use stillpoint_format::{KEY_FILE_BYTES_MAX, Secret, key_file, parse_key_file};
use stillpoint_model::{Error, Result, VaultId};

use crate::output;

/// `$XDG_CONFIG_HOME/stillpoint/<vault-id>.key`, by default below `~/.config`.
pub fn default_path(vault: VaultId) -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let config = config.ok_or_else(|| Error::invalid("neither HOME nor XDG_CONFIG_HOME is set; give --key-file FILE"))?;
    Ok(config.join("stillpoint").join(format!("{vault}.key")))
}

/// Writes a key file that only its owner can read; refuses to replace one.
pub fn write(path: &Path, vault: VaultId, secret: &Secret) -> Result<()> {
    let body = key_file(vault, secret)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let context = |error| Error::from(error).context(format!("cannot make folder {}", folder.display()));
        fs::create_dir_all(folder).map_err(context)?;
    }
    write_private(path, &body)
}

/// Writes `text` and a newline to a new file of mode 600, synced; nothing is left when that fails. Its folder must exist: a
/// secret that was meant for a medium which is not there must not end up beside the vault.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let context = |error: std::io::Error| Error::from(error).context(format!("cannot write {}", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(context)?;
    let written = writeln!(file, "{text}").and_then(|()| file.sync_all());
    written.map_err(|error| {
        drop(fs::remove_file(path));
        context(error)
    })
}

/// The error for a key file that is not there, and nothing else that opens the vault.
pub fn missing(path: &Path) -> Error {
    Error::missing(format!(
        "there is no key file {}; give --key-file FILE, or make one with `stillpoint vault open --recovery-key-file FILE`",
        path.display()
    ))
}

/// Reads a key file; warns when others can read it too.
pub fn read(path: &Path, vault: VaultId) -> Result<Secret> {
    let context = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => missing(path),
        _ => Error::from(error).context(format!("cannot read key file {}", path.display())),
    };
    let invalid = || Error::invalid(format!("{} is not a Stillpoint key file", path.display()));
    let meta = fs::metadata(path).map_err(context)?;
    if !meta.is_file() || meta.len() > KEY_FILE_BYTES_MAX {
        return Err(invalid());
    }
    let text = fs::read_to_string(path).map_err(context)?;
    let (meant, secret) = parse_key_file(&text).map_err(|_| invalid())?;
    if meant != vault {
        return Err(Error::denied(format!("key file {} is for vault {meant}, not for this one ({vault})", path.display())));
    }
    // Only a key worth keeping is worth a warning.
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        output::complain(&format!(
            "warning: key file {} can be read by others (mode {mode:o}); run chmod 600 on it",
            path.display()
        ));
    }
    Ok(secret)
}
