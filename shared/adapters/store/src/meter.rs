use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use stillpoint_model::Requests;

/// Counts requests by kind; every count is passed on to the parent, so a step and its process can both be read.
#[derive(Debug, Default)]
pub struct Meter {
    put: AtomicU64,
    get: AtomicU64,
    list: AtomicU64,
    head: AtomicU64,
    delete: AtomicU64,
    parent: Option<Arc<Self>>,
}

impl Meter {
    /// A meter that starts at zero and passes its counts on to `parent`.
    #[must_use]
    pub fn below(parent: Arc<Self>) -> Self {
        Self { parent: Some(parent), ..Self::default() }
    }

    /// Adds `requests`.
    pub fn count(&self, requests: Requests) {
        self.put.fetch_add(requests.put, Relaxed);
        self.get.fetch_add(requests.get, Relaxed);
        self.list.fetch_add(requests.list, Relaxed);
        self.head.fetch_add(requests.head, Relaxed);
        self.delete.fetch_add(requests.delete, Relaxed);
        if let Some(parent) = &self.parent {
            parent.count(requests);
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn requests(&self) -> Requests {
        Requests {
            put: self.put.load(Relaxed),
            get: self.get.load(Relaxed),
            list: self.list.load(Relaxed),
            head: self.head.load(Relaxed),
            delete: self.delete.load(Relaxed),
        }
    }
}
