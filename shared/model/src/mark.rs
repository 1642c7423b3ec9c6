use crate::kebab::kebab;

kebab!(
    /// What was written on a recovery point after its commit. Marks come in pairs of which the later counts.
    MarkKind, "mark" {
        /// Deleted softly: a tombstone.
        Deleted = "deleted",
        /// The tombstone is taken back.
        Undeleted = "undeleted",
        /// Held: nothing deletes it.
        Held = "held",
        /// The hold is taken back.
        Released = "released",
        /// A verification found that something it needs is missing or corrupt.
        Damaged = "damaged",
        /// A later verification found all it needs sound again.
        Sound = "sound",
        /// Freed: it is no point any more, whatever else is still there of it. Nothing takes this back.
        Freed = "freed",
    }
);

kebab!(
    /// Whether recovery points may go before their time.
    Immutability, "immutability" {
        /// They may, by an operator's word.
        Off = "off",
        /// They may not: nothing is deleted, and no rule shortened, before a point's time is up. Can be switched off.
        On = "on",
        /// As on, for good.
        Locked = "locked",
    }
);
