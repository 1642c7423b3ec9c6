use std::collections::BTreeMap;

use crate::broker::Delivery;

/// Something that happens at its time.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// The timer ticks.
    Tick,
    /// A message comes.
    Deliver(Delivery),
    /// Somebody does something.
    Act,
    /// Broker and processes may have an accident.
    Accident,
    /// Somebody copies the vault.
    Copy,
    /// The copy comes back.
    SetBack,
    /// Every point is restored and compared.
    Check,
    /// A task that stood still may go on.
    Thaw,
}

/// What is to come, by its time.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    items: BTreeMap<(i64, u64), Item>,
    serial: u64,
}

impl Agenda {
    pub(crate) fn at(&mut self, when: i64, item: Item) {
        self.serial += 1;
        self.items.insert((when, self.serial), item);
    }

    pub(crate) fn next(&self) -> Option<i64> {
        self.items.keys().next().map(|(when, _)| *when)
    }

    pub(crate) fn pop(&mut self) -> Option<Item> {
        self.items.pop_first().map(|(_, item)| item)
    }

    /// Forgets what `keep` does not keep; how many that were.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Item) -> bool) -> u64 {
        let before = self.items.len();
        self.items.retain(|_, item| keep(item));
        (before - self.items.len()) as u64
    }
}
