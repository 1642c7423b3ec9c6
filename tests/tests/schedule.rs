//! What the timer starts, and what it says of what did not happen.

mod schedule {
    mod alarms;
    mod clocks;
    mod deaths;
    mod fleet;
    mod life;
    mod limits;
    mod pace;
    mod requests;
    mod slots;
    mod tasks;
}
