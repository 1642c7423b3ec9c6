//! The fleet: all machines and policies of a vault with what holds between them, the settled slots of their schedules, and what
//! becomes of their recovery points. Reads and writes the vault; the rules themselves are pure and lie in `model::policy`.

mod digest;
mod fleet;
mod keeping;
mod shortening;
mod timer;

pub use fleet::{Fleet, Member};
pub use keeping::{Keeping, Kept};
pub use shortening::Shortened;
pub use timer::{SettledSlot, Settlement, Start, Tick};
