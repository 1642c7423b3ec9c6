//! Notify: tells people that an alarm was raised or resolved, in the log and by a webhook.
//!
//! * **Consumes** `alarm.changed`.
//! * **Emits** nothing.
//! * **Idempotency key:** the alarm and the number of its record. A record that somebody was told of is not told again; a receiver that
//!   gets it twice all the same, because the note of it was lost, knows it by the same id.
//! * **Permissions:** read and create alarms; the webhook; no points, no packs, no delete, no data key.
//! * **What survives a crash:** the alarm's record, and that nobody was told of it. The timer publishes the event of such records again,
//!   so a receiver that is away for a day is told after it.

mod tell;
mod wiring;

pub use tell::{Tell, Telling};
pub use wiring::functions;
