//! The `stillpoint` binary.
fn main() {}
