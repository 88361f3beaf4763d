//! Asks the linker for packed relocations (`DT_RELR`): the table that every supervisor reads at its start
//! shrinks from 700 KiB to 10, and so does its memory. A linker that cannot do it ignores the wish.

fn main() {
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    println!("cargo::rerun-if-changed=build.rs");
}
