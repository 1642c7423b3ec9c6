use std::fs;

use stillpoint_model::{Error, ErrorKind, Result};

use crate::Store;

impl Store {
    /// An error where the directory is away: what is written then would lie beneath the mount, in a directory made anew, and
    /// what is not found says nothing about the vault. A vault's directory is never empty.
    pub(crate) fn present(&self) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        match fs::read_dir(directory).map(|mut entries| entries.next().is_some()) {
            Ok(true) => Ok(()),
            _ => Err(Error::unavailable(format!("the directory {} is gone or empty; is it mounted?", directory.display()))),
        }
    }

    /// What to say when something was not found.
    pub(crate) fn unless_away(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::Missing { self.present().err().unwrap_or(error) } else { error }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stillpoint_system::SystemClock;

    use super::*;
    use crate::Access;

    #[tokio::test]
    async fn a_directory_that_is_away_is_neither_made_anew_nor_taken_to_be_empty() {
        let folder = std::env::temp_dir().join(format!("stillpoint-away-{}", std::process::id()));
        let (vault, away) = (folder.join("vault"), folder.join("away"));
        let url = format!("file://{}", vault.display());
        let open = |access| Store::open(&url, access, Arc::new(SystemClock)).unwrap();
        open(Access::Create).create("vault.json", vec!["{}".into()]).await.unwrap();
        let store = open(Access::Existing);
        fs::rename(&vault, &away).unwrap();
        // Beneath a mount that is away there is an empty directory, or none.
        for beneath in [false, true] {
            if beneath {
                fs::create_dir(&vault).unwrap();
            }
            let kinds = [
                store.create("jobs/a", vec!["{}".into()]).await.unwrap_err().kind(),
                store.get("vault.json", 10).await.unwrap_err().kind(),
                store.get_range("vault.json", 0..1).await.unwrap_err().kind(),
                store.size("vault.json").await.unwrap_err().kind(),
                store.list("").await.unwrap_err().kind(),
                store.list_folder("jobs").await.unwrap_err().kind(),
            ];
            assert_eq!(kinds, [ErrorKind::Unavailable; 6], "{beneath}");
            assert_eq!(vault.exists(), beneath);
        }
        fs::remove_dir(&vault).unwrap();
        fs::rename(&away, &vault).unwrap();
        store.create("jobs/a", vec!["{}".into()]).await.unwrap();
        assert_eq!(store.get("nothing", 10).await.unwrap_err().kind(), ErrorKind::Missing);
        assert_eq!(store.list("points").await.unwrap(), []);
        fs::remove_dir_all(&folder).unwrap();
    }
}
