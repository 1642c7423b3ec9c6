use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

/// Bytes kept of all objects together; the oldest go first.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Records and manifests that this process has created, or has read and found authentic.
///
/// Objects of a vault are created once and never change, and no name is used twice. So what was read stays right, and what a
/// successful create wrote need not be asked for: the plan that every function of a job reads, the markers that the sealer
/// sums up, the parent's manifest. Only whether an object is there can change, and whoever must know that lists or looks it
/// up ([`crate::Vault::audit`] reads past this). Nothing is kept before it was checked: a bit that flipped on the way is
/// read again.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    objects: HashMap<String, Bytes>,
    /// Names in the order in which they came.
    order: VecDeque<String>,
    bytes: usize,
}

impl Kept {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Bytes> {
        self.inner().objects.get(name).cloned()
    }

    /// Names that begin with `prefix`.
    pub(crate) fn names(&self, prefix: &str) -> Vec<String> {
        self.inner().order.iter().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// Keeps an object that was created, or that is authentic.
    pub(crate) fn keep(&self, name: &str, bytes: &Bytes) {
        if bytes.len() > KEPT_BYTES_MAX / 4 {
            return;
        }
        let mut inner = self.inner();
        if inner.objects.contains_key(name) {
            return;
        }
        inner.bytes += bytes.len();
        inner.objects.insert(name.to_owned(), bytes.clone());
        inner.order.push_back(name.to_owned());
        while inner.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = inner.order.pop_front() else { break };
            inner.bytes -= inner.objects.remove(&oldest).map_or(0, |gone| gone.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_there_is_too_much() {
        let (kept, quarter) = (Kept::default(), Bytes::from(vec![1; KEPT_BYTES_MAX / 4]));
        for name in ["a", "b", "c", "d", "a"] {
            kept.keep(name, &quarter);
        }
        assert!(["a", "b", "c", "d"].iter().all(|name| kept.get(name).is_some()));
        kept.keep("e", &Bytes::from_static(b"e"));
        assert!(kept.get("a").is_none() && kept.get("b").is_some() && kept.get("e").is_some());
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let kept = Kept::default();
        kept.keep("a", &Bytes::from(vec![1; KEPT_BYTES_MAX / 4 + 1]));
        assert!(kept.get("a").is_none());
    }
}
