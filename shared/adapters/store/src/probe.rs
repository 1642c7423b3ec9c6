use bytes::Bytes;
use futures_util::future::join_all;
use stillpoint_model::{Error, ErrorKind, Result};

use crate::Store;

/// Creates that race for one name; a store that only looks before it writes lets several win.
const RACERS: usize = 8;

impl Store {
    /// Tries out what a vault's safety rests on, with objects named under `folder` (unique to this probe), and removes them.
    ///
    /// # Errors
    /// `invalid`, naming the ability that is missing: create-if-absent, read-your-write or list-after-write;
    /// `unavailable` or `denied` when the store does not let us try.
    pub async fn probe(&self, folder: &str) -> Result<()> {
        let name = format!("{folder}/create-if-absent");
        let tried = self.try_abilities(folder, &name).await;
        let removed = self.delete(&name).await;
        tried.and(removed)
    }

    async fn try_abilities(&self, folder: &str, name: &str) -> Result<()> {
        let refuse = |ability: &str, seen: String| {
            Err(Error::invalid(format!("{} cannot hold a vault: it lacks {ability} ({seen})", self.url())))
        };
        let bodies: Vec<Bytes> = (0..RACERS).map(|racer| format!("probe {racer}").into_bytes().into()).collect();
        let outcomes = join_all(bodies.iter().map(|body| self.create(name, vec![body.clone()]))).await;
        let winners: Vec<usize> =
            outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_ok()).map(|(racer, _)| racer).collect();
        if let Some(error) =
            outcomes.into_iter().find_map(|outcome| outcome.err().filter(|error| error.kind() != ErrorKind::Conflict))
        {
            return Err(error.context(format!("cannot write to {}", self.url())));
        }
        let [winner] = winners[..] else {
            return refuse(
                "create-if-absent",
                format!("{} of {RACERS} simultaneous creates of one name succeeded", winners.len()),
            );
        };
        if self.get(name, 64).await.ok().as_ref() != Some(&bodies[winner]) {
            return refuse("read-your-write", "an object just written reads differently".to_owned());
        }
        let second = self.create(name, vec![Bytes::from_static(b"a later create of the same name")]).await;
        if second.is_ok() || self.get(name, 64).await.ok().as_ref() != Some(&bodies[winner]) {
            return refuse("create-if-absent", "a second create of one name replaced the first".to_owned());
        }
        if !self.list(folder).await?.iter().any(|entry| entry.name == name) {
            return refuse("list-after-write", "an object just written is not listed".to_owned());
        }
        Ok(())
    }
}
