//! `cargo xtask`: everything a contributor runs beyond cargo itself.
fn main() {}
