//! Records whose types are private to the crates that read them: what their functions make of bodies that a writer with the key
//! could sign.

use super::{Memory, Target, text};
use crate::scene::{Record, genuine, read};

/// A target for one kind of record.
macro_rules! target {
    ($target:ident, $name:literal, $record:ident) => {
        pub const $target: Target = Target {
            name: $name,
            is_text: true,
            bytes_max: 16 * 1024,
            inputs: 400,
            memory: Memory::Fixed(64 << 20),
            seeds: || vec![genuine(Record::$record)],
            check: |input| read(Record::$record, text(input)?),
        };
    };
}

target!(RESTORE_PLAN, "restore_plan", RestorePlan);
target!(RESTORE_MARKER, "restore_marker", RestoreMarker);
target!(VERIFY_PLAN, "verify_plan", VerifyPlan);
target!(VERIFY_MARKER, "verify_marker", VerifyMarker);
target!(CENSUS, "census", Census);
target!(FLEET, "fleet", Fleet);
