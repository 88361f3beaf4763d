//! Any body as a configuration to be applied, by one who owns nothing yet, and by force.
#![no_main]

mod server;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    for query in ["fieldManager=a", "fieldManager=kubectl&force=true"] {
        let path = format!("{}?dryRun=All&{query}", server::POD);
        server::send("PATCH", &path, "application/apply-patch+yaml", body);
    }
});
