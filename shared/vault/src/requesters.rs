use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use stillpoint_model::{Error, ItemName, RequesterName, Result};

use crate::{Kind, Name, Vault};

const REQUESTER: Kind = Kind::small("requester");
/// Most places of a requester, and bytes of one.
const PLACES_MAX: usize = 100;
const PLACE_BYTES_MAX: usize = 1024;

/// Another system that may order restores, and what it may order: the body of `requesters/<name>/<seq>.json`. The newest record counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requester {
    /// Its name.
    pub name: RequesterName,
    /// What its orders are checked with: an Ed25519 public key (RFC 8032), in base64url without padding, as `x` of RFC 8037.
    pub public_key: String,
    /// Whose points it may have restored; all machines' when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<BTreeSet<ItemName>>,
    /// Folders that it may have written to, with all that lies in them: absolute paths at the site, or URLs of folders in stores.
    pub places: Vec<String>,
    /// Whether it may have something replaced there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overwrite: bool,
    /// Whether it may order nothing any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
    /// When this record was written.
    pub written: Timestamp,
}

impl Requester {
    /// Whether `folder` is one of its places or lies in one.
    #[must_use]
    pub fn may_write_to(&self, folder: &str) -> bool {
        let is_in = |place: &String| {
            let rest = folder.strip_prefix(place.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        is_plain(folder) && self.places.iter().any(is_in)
    }

    fn check(&self) -> Result<()> {
        if self.places.is_empty() || self.places.len() > PLACES_MAX {
            return Err(Error::invalid(format!("requester {} needs 1 to {PLACES_MAX} places to write to", self.name)));
        }
        match self.places.iter().find(|place| !is_plain(place)) {
            None => Ok(()),
            Some(place) => Err(Error::invalid(format!(
                "'{}' is no place to write to: give an absolute path or the URL of a folder in a store, without '.' and '..' in it",
                place.escape_debug()
            ))),
        }
    }
}

/// Whether a text says the one place that it seems to say: nothing in it leads elsewhere.
fn is_plain(place: &str) -> bool {
    let path = place.split_once("://").map_or(place, |(_, path)| path);
    let begins = place.starts_with('/') || place.contains("://");
    let part = |part: &str| !matches!(part, "." | "..") && !part.contains(['%', '?', '#', '\\']);
    begins && place.len() <= PLACE_BYTES_MAX && !place.chars().any(char::is_control) && path.split('/').all(part)
}

impl Vault {
    /// Writes a requester's record behind those that exist. `replace` says whether there may be any.
    ///
    /// # Errors
    /// `conflict` when the requester exists and `replace` is false; `invalid`; as the store.
    pub async fn write_requester(&self, requester: &Requester, replace: bool) -> Result<()> {
        requester.check()?;
        let name = &requester.name;
        let newest = self.newest_requester_seq(name).await?;
        if newest.is_some() && !replace {
            return Err(Error::conflict(format!("requester {name} already exists; give --replace to change what it may do")));
        }
        let named = |seq| Name::Requester(name.clone(), seq);
        self.append_record(REQUESTER, newest.unwrap_or(0), named, requester).await.map(drop)
    }

    async fn newest_requester_seq(&self, name: &RequesterName) -> Result<Option<u32>> {
        let seq = |name| if let Name::Requester(_, seq) = name { Some(seq) } else { None };
        Ok(self.names(&Name::requester_folder(name), seq).await?.into_iter().max())
    }

    /// A requester as its newest record says.
    ///
    /// # Errors
    /// `missing` when there is none of this name, `corrupt`; as the store.
    pub async fn requester(&self, name: &RequesterName) -> Result<Requester> {
        match self.newest_requester_seq(name).await? {
            Some(seq) => self.read_requester(name, seq).await,
            None => Err(Error::missing(format!("there is no requester {name} in this vault; see `stillpoint requester list`"))),
        }
    }

    /// All requesters, by name; one that cannot be read does not hide the others.
    ///
    /// # Errors
    /// As the store.
    pub async fn requesters(&self) -> Result<Vec<(RequesterName, Result<Requester>)>> {
        let seq = |name| if let Name::Requester(name, seq) = name { Some((name, seq)) } else { None };
        let newest: BTreeMap<RequesterName, u32> = self.names(Name::REQUESTERS, seq).await?.into_iter().collect();
        let mut all = Vec::with_capacity(newest.len());
        for (name, seq) in newest {
            let read = self.read_requester(&name, seq).await;
            all.push((name, read));
        }
        Ok(all)
    }

    async fn read_requester(&self, name: &RequesterName, seq: u32) -> Result<Requester> {
        let requester: Requester = self.read_record(REQUESTER, &Name::Requester(name.clone(), seq)).await?;
        if requester.name == *name {
            Ok(requester)
        } else {
            Err(Error::corrupt(format!("the record of requester {name} is of another one")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_place_may_be_written_and_nothing_beside_it() {
        let requester = Requester {
            name: "portal".parse().unwrap(),
            public_key: String::new(),
            machines: None,
            places: vec!["/srv/restores/".to_owned(), "s3://bucket/out".to_owned()],
            overwrite: false,
            revoked: false,
            written: Timestamp::UNIX_EPOCH,
        };
        for good in ["/srv/restores", "/srv/restores/", "/srv/restores/a/b", "s3://bucket/out", "s3://bucket/out/web-01"] {
            assert!(requester.may_write_to(good), "{good}");
        }
        for bad in [
            "/srv",
            "/srv/restores2",
            "/srv/restores/../secret",
            "/srv/restores/./x",
            "srv/restores",
            "qcow2:/srv/restores",
            "s3://bucket",
            "s3://bucket/outer",
            "s3://bucket/out/%2e%2e/x",
            "s3://bucket/out?x=1",
            "/srv/restores/a\nb",
            "",
        ] {
            assert!(!requester.may_write_to(bad), "{bad}");
        }
        assert!(requester.check().is_ok());
        assert!(Requester { places: vec!["restores".to_owned()], ..requester.clone() }.check().is_err());
        assert!(Requester { places: Vec::new(), ..requester }.check().is_err());
    }
}
