use crate::{CallKind, Fault, TestRandom};

/// How often calls of a store have faults, in thousandths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Fails without effect: 500, 503, 429, a connection that is refused.
    pub error_before: u64,
    /// Fails after its effect.
    pub error_after: u64,
    /// A create is told that its name is taken, by itself.
    pub met_itself: u64,
    /// A read is cut short.
    pub short_read: u64,
    /// A read has a wrong bit.
    pub flipped_read: u64,
    /// A deletion is refused.
    pub denied_delete: u64,
    /// A listing leaves a page out, and does not say so.
    pub short_list: u64,
    /// A listing has a page twice.
    pub repeated_list: u64,
    /// A listing says of objects that they were written at other times than they were.
    pub wrong_modified: u64,
    /// All creates: the store has no room.
    pub full: u64,
}

impl Rates {
    /// What happens to the next call. Draws nothing where there are no faults.
    pub(crate) fn draw(&self, kind: CallKind, random: &TestRandom) -> Option<Fault> {
        if *self == Self::default() {
            return None;
        }
        let only = |wanted: CallKind, rate: u64| if kind == wanted { rate } else { 0 };
        let faults = [
            (Fault::ErrorBefore, self.error_before),
            (Fault::ErrorAfter, self.error_after),
            (Fault::MetItself, only(CallKind::Put, self.met_itself)),
            (Fault::ShortRead, only(CallKind::Get, self.short_read)),
            (Fault::FlippedRead, only(CallKind::Get, self.flipped_read)),
            (Fault::Denied, only(CallKind::Delete, self.denied_delete)),
            (Fault::ShortList, only(CallKind::List, self.short_list)),
            (Fault::RepeatedList, only(CallKind::List, self.repeated_list)),
            (Fault::WrongModified, only(CallKind::List, self.wrong_modified)),
            (Fault::Full, only(CallKind::Put, self.full)),
        ];
        let mut drawn = random.below(1000);
        faults.into_iter().find_map(|(fault, rate)| match drawn.checked_sub(rate) {
            None => Some(fault),
            Some(rest) => {
                drawn = rest;
                None
            }
        })
    }
}
