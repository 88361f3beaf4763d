//! `memlet`: the program.
fn main() {}
