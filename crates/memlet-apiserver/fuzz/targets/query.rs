//! Any text as the query of a list: selectors, limits, tokens.
#![no_main]

mod server;

libfuzzer_sys::fuzz_target!(|query: &str| {
    // A watch has no end.
    if query.contains("watch") || query.contains('%') || query.contains('W') {
        return;
    }
    server::send("GET", &format!("/api/v1/pods?{query}"), "application/json", b"");
});
