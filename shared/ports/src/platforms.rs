use std::{collections::BTreeMap, sync::Arc};

use stillpoint_model::{Error, Result};

use crate::Platform;

/// The platforms that this host reaches, by name.
#[derive(Clone, Default)]
pub struct Platforms(BTreeMap<String, Arc<dyn Platform>>);

impl Platforms {
    /// Adds a platform.
    #[must_use]
    pub fn with(mut self, name: &str, platform: Arc<dyn Platform>) -> Self {
        self.0.insert(name.to_owned(), platform);
        self
    }

    /// The same platforms, each as `change` makes it.
    #[must_use]
    pub fn map(&self, change: impl Fn(Arc<dyn Platform>) -> Arc<dyn Platform>) -> Self {
        Self(self.0.iter().map(|(name, platform)| (name.clone(), change(Arc::clone(platform)))).collect())
    }

    /// The platform called `name`.
    ///
    /// # Errors
    /// `invalid` when this host has no such platform.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn Platform>> {
        self.0.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
            Error::invalid(format!("there is no platform '{}' here; known: {}", name.escape_debug(), known.join(", ")))
        })
    }
}
