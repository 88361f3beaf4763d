//! Any body as a new Pod: decoded, defaulted, admitted and checked. JSON where it begins like that, YAML otherwise.
#![no_main]

mod server;

libfuzzer_sys::fuzz_target!(|body: &[u8]| {
    let media = if body.first() == Some(&b'{') { "application/json" } else { "application/yaml" };
    server::send("POST", "/api/v1/namespaces/default/pods?dryRun=All&fieldValidation=Warn", media, body);
});
