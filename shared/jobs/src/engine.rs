use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use stillpoint_vault::Vault;

/// The engine over one vault. Cheap to clone; clones share what was seen, which saves requests and decides nothing.
#[derive(Clone)]
pub struct Engine {
    vault: Vault,
    /// The first day whose jobs are looked through, and when that was found out.
    pub(crate) first_day: Arc<Mutex<Option<(String, Timestamp)>>>,
}

impl Engine {
    /// An engine whose jobs lie in `vault`.
    #[must_use]
    pub fn new(vault: Vault) -> Self {
        Self { vault, first_day: Arc::default() }
    }

    /// The vault.
    #[must_use]
    pub const fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The same engine, whose requests are also counted apart.
    #[must_use]
    pub fn metered(&self) -> Self {
        Self { vault: self.vault.metered(), ..self.clone() }
    }
}
