/// A bug of other backup products that the simulator must be able to see. Each variant says which bug its switch puts back.
///
/// Builds with the feature `mutations` have the switches, which only the mutation suite of the simulator turns on; everywhere else
/// [`Mutation::is_active`] is a constant, and nothing is left of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// Packs are deleted by the list of points that was made before they were condemned: no fresh look follows.
    StaleList,
    /// Packs that no point names are swept at once, those of backups under way with them.
    InFlightSwept,
    /// A listing that fails is read as an empty one.
    ListErrorEmpty,
    /// A commit does not ask whether its job was stopped while it stood still.
    CommitUnfenced,
    /// Chunks of a pack whose upload failed are referred to as if it were there.
    FailedUploadUsed,
    /// Segments done are counted, and not collected in a set: one that is done twice stands for another.
    MarkersCounted,
    /// Numbers begin anew when all that bore one were deleted.
    NameReused,
    /// Packs that no point names are deleted when they are a day old, whatever job may go on with them.
    AgeAlone,
    /// Change tracking is believed after a crash in which changes were lost.
    TrackingTrusted,
    /// What expires does so by the clock of whoever looks, however far it jumped.
    ClockBelieved,
    /// What cannot be read is left out of a restore, which is called complete.
    PartialRestore,
    /// A point is visible in the replica before its packs are there.
    ReplicaEarly,
}

#[cfg(not(feature = "mutations"))]
impl Mutation {
    /// Whether the bug is put back: never.
    #[must_use]
    pub const fn is_active(self) -> bool {
        false
    }

    /// How often this was asked for `job`, for a bug that counts: not at all.
    #[must_use]
    pub const fn count(self, _job: crate::JobId) -> u32 {
        0
    }
}

#[cfg(feature = "mutations")]
mod active {
    use std::{
        cell::{Cell, RefCell},
        collections::BTreeMap,
    };

    use super::Mutation;
    use crate::JobId;

    thread_local! {
        static ACTIVE: Cell<Option<Mutation>> = const { Cell::new(None) };
        static COUNTS: RefCell<BTreeMap<JobId, u32>> = const { RefCell::new(BTreeMap::new()) };
    }

    impl Mutation {
        /// All of them.
        pub const ALL: [Self; 12] = [
            Self::StaleList,
            Self::InFlightSwept,
            Self::ListErrorEmpty,
            Self::CommitUnfenced,
            Self::FailedUploadUsed,
            Self::MarkersCounted,
            Self::NameReused,
            Self::AgeAlone,
            Self::TrackingTrusted,
            Self::ClockBelieved,
            Self::PartialRestore,
            Self::ReplicaEarly,
        ];

        /// Whether the bug is put back, for this thread and at this moment.
        #[must_use]
        pub fn is_active(self) -> bool {
            ACTIVE.get() == Some(self)
        }

        /// How often this was asked for `job`, this time included.
        #[must_use]
        pub fn count(self, job: JobId) -> u32 {
            COUNTS.with_borrow_mut(|counts| {
                let count = counts.entry(job).or_default();
                *count += 1;
                *count
            })
        }

        /// Runs `work` with the bug put back, if one is given.
        pub fn during<T>(mutation: Option<Self>, work: impl FnOnce() -> T) -> T {
            let before = ACTIVE.replace(mutation);
            let result = work();
            ACTIVE.set(before);
            result
        }

        /// Forgets what was counted, for a new world whose ids are the same.
        pub fn forget_counts() {
            COUNTS.with_borrow_mut(BTreeMap::clear);
        }
    }
}
