use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

use stillpoint_model::{Error, Result};

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}
static QUIET: Once = Once::new();

/// Runs what parses foreign bytes. A parser that panics gives `corrupt`, and nothing is printed about it.
///
/// # Errors
/// As `work`; `corrupt`.
pub fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    QUIET.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                before(panic);
            }
        }));
    });
    let was_guarded = IS_GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(was_guarded);
    outcome.unwrap_or_else(|_| Err(Error::corrupt("the file system is so damaged that its reader broke off")))
}
