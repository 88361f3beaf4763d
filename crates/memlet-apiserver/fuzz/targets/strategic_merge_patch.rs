//! Any body as a patch of a Pod, and of its status.
#![no_main]

mod server;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    for part in ["", "/status"] {
        let path = format!("{}{part}?dryRun=All", server::POD);
        server::send("PATCH", &path, "application/strategic-merge-patch+json", body);
    }
});
