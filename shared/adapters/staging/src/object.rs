//! Disks that become objects: where they are, and what they must be.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use stillpoint_model::{
    Error, Result,
    geometry::{PAGE_BYTES, page_count},
};
use stillpoint_ports::{Clock, TargetDisk};
use stillpoint_store::{Access, Store};
use url::Url;

/// Most parts of an object, as S3 has it: disks of 312 GiB.
const PARTS_MAX: u32 = 10_000;

/// Whether a location is one of an object in a store, and not of a file, a device or an NBD export.
#[must_use]
pub fn is_object(location: &str) -> bool {
    location.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.starts_with("nbd") && !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric())
    })
}

/// A disk that is to be an object.
pub(crate) struct Object {
    pub(crate) store: Store,
    /// Its name in the store.
    pub(crate) name: String,
    pub(crate) disk: TargetDisk,
}

impl Object {
    /// `stores` are those that are open, by the URL of their folder.
    pub(crate) fn of(disk: &TargetDisk, stores: &mut BTreeMap<String, Store>, clock: &Arc<dyn Clock>) -> Result<Self> {
        let (folder, name) = split(&disk.location).ok_or_else(|| {
            Error::invalid(format!("disk {}: its URL names no object; end it with one, as s3://bucket/folder/os.raw", disk.name))
        })?;
        let store = match stores.get(&folder) {
            Some(store) => store.clone(),
            // One would be gone with this process, the other has names for files that are not ready.
            None if ["memory:", "file:"].iter().any(|scheme| folder.starts_with(scheme)) => {
                return Err(Error::invalid(format!(
                    "disk {}: give the path of a folder, or the URL of one in a bucket or container",
                    disk.name
                )));
            }
            None => {
                let opened = Store::open(&folder, Access::Existing, Arc::clone(clock));
                let store = opened.map_err(|error| error.context(format!("disk {}: cannot use its target", disk.name)))?;
                stores.insert(folder, store.clone());
                store
            }
        };
        Ok(Self { store, name, disk: disk.clone() })
    }

    /// How messages call it.
    pub(crate) fn label(&self) -> String {
        format!("disk {}: object {} in {}", self.disk.name, self.name, self.store.url())
    }

    pub(crate) fn pages(&self) -> u32 {
        page_count(self.disk.size_bytes)
    }

    /// Sends a part, and gives up the upload.
    pub(crate) async fn probe(&self, bytes: Bytes) -> Result<Option<u64>> {
        let upload = self.store.begin_upload(&self.name).await.map_err(|error| error.context(self.label()))?;
        let sent = self.store.put_part(&self.name, &upload, 0, bytes).await;
        self.store.abort_upload(&self.name, &upload).await.map_err(|error| error.context(self.label()))?;
        sent.map(|_| None).map_err(|error| error.context(self.label()))
    }

    /// Looks at whether it can be written.
    async fn check(&self) -> Result<()> {
        if self.disk.keep_replaced {
            return Err(Error::invalid(format!("{}: a machine has its disks in no store", self.label())));
        }
        if self.pages() > PARTS_MAX {
            let most = u64::from(PARTS_MAX) * PAGE_BYTES;
            return Err(Error::invalid(format!("{}: an object has {most} bytes at most; restore it to a folder", self.label())));
        }
        let version = self.store.version(&self.name).await.map_err(|error| error.context(self.label()))?;
        if version.is_some() && !self.disk.overwrite {
            return Err(Error::conflict(format!("{} exists; give --overwrite to replace it", self.label())));
        }
        Ok(())
    }
}

/// Looks at all of them.
pub(crate) async fn check(objects: &[Object]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for object in objects {
        if !seen.insert((object.store.url(), &object.name)) {
            return Err(Error::conflict(format!("{} is the target of two disks", object.label())));
        }
        object.check().await?;
    }
    Ok(())
}

/// The folder's URL, with all parameters, and the object's name in it.
fn split(location: &str) -> Option<(String, String)> {
    let mut url = Url::parse(location).ok()?;
    let name = url.path_segments()?.next_back().filter(|name| !name.is_empty())?.to_owned();
    url.path_segments_mut().ok()?.pop();
    Some((url.to_string(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_an_object_only_where_it_is_a_url_of_a_store() {
        for (location, expected) in [
            ("s3://bucket/os.raw", true),
            ("memory:///a/os.raw", true),
            ("nbd://host:1/os", false),
            ("nbd+unix:///os?socket=/s", false),
            ("/srv/a://b.raw", false),
            ("qcow2:/srv/os.qcow2", false),
        ] {
            assert_eq!(is_object(location), expected, "{location}");
        }
    }

    #[test]
    fn a_folder_keeps_its_parameters() {
        let found = split("s3://bucket/a/b/os.raw?region=x&streams=2").unwrap();
        assert_eq!(found, ("s3://bucket/a/b?region=x&streams=2".to_owned(), "os.raw".to_owned()));
        assert_eq!(split("az://container/os.raw").unwrap().1, "os.raw");
        assert_eq!(split("s3://bucket"), None);
        assert_eq!(split("s3://bucket/a/"), None);
    }
}
