use stillpoint_vault::Vault;

/// The engine over one vault. Cheap to clone; keeps no state.
#[derive(Clone)]
pub struct Engine {
    vault: Vault,
}

impl Engine {
    /// An engine whose jobs lie in `vault`.
    #[must_use]
    pub const fn new(vault: Vault) -> Self {
        Self { vault }
    }

    /// The vault.
    #[must_use]
    pub const fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The same engine, whose requests are also counted apart.
    #[must_use]
    pub fn metered(&self) -> Self {
        Self { vault: self.vault.metered() }
    }
}
