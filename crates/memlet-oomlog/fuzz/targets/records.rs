//! Any records as those of one machine's `/dev/kmsg`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memlet_oomlog::{Collector, Record};

fuzz_target!(|log: &[u8]| {
    let mut collector = Collector::default();
    for line in log.split(|byte| *byte == b'\n') {
        if let Ok(record) = Record::parse_kmsg(line) {
            collector.push(&record);
        }
    }
    for report in collector.finish() {
        let _ = (report.choice(), report.ranking(), report.charged());
    }
});
