use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

/// Requests made to a vault's store, by kind: what an object store bills.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// Objects written.
    pub put: u64,
    /// Objects or ranges read.
    pub get: u64,
    /// Pages of listings.
    pub list: u64,
    /// Look-ups of an object's size.
    pub head: u64,
    /// Objects deleted.
    pub delete: u64,
}

impl Add for Requests {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            put: self.put.saturating_add(other.put),
            get: self.get.saturating_add(other.get),
            list: self.list.saturating_add(other.list),
            head: self.head.saturating_add(other.head),
            delete: self.delete.saturating_add(other.delete),
        }
    }
}

impl AddAssign for Requests {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Requests {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            put: self.put.saturating_sub(earlier.put),
            get: self.get.saturating_sub(earlier.get),
            list: self.list.saturating_sub(earlier.list),
            head: self.head.saturating_sub(earlier.head),
            delete: self.delete.saturating_sub(earlier.delete),
        }
    }
}
