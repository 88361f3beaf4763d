//! Any text as one line of the kernel's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memlet_oomlog::{Line, line};

fuzz_target!(|text: &str| {
    match Line::parse(text) {
        Some(Line::StatsOf { stats, .. }) => drop(line::kilobytes_by_name(stats).count()),
        Some(Line::Machine(line::Machine::Counters(text))) => drop(line::pages_by_name(text).count()),
        Some(Line::Machine(line::Machine::Zone(text))) => drop(line::zone(text)),
        _ => drop(line::slab(text)),
    }
});
