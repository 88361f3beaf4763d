//! How fast a large log is read, on one core, and with how much memory: over noise with one report in each MiB, and over
//! nothing but reports. Every report in it is read whole, and counted.
//!
//! The reports are those of the folder that `MEMLET_CORPUS` names, else this crate's own fixtures. `MEMLET_BENCH_GIB`
//! says how much is read (1).
#![allow(missing_docs, clippy::print_stdout, reason = "a measurement has one reader")]
#![allow(clippy::cast_precision_loss, reason = "three digits are enough")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use memlet_oomlog::{Finding, LogReader};

const MIB: usize = 1 << 20;
const CHUNK: usize = MIB;

fn main() {
    let gib: f64 = std::env::var("MEMLET_BENCH_GIB").ok().and_then(|gib| gib.parse().ok()).unwrap_or(1.0);
    let logs = logs();
    let reports: usize = logs.iter().map(|log| read_once(log)).sum();
    println!(
        "{} logs, {} KiB, {reports} reports",
        logs.len(),
        logs.iter().map(Vec::len).sum::<usize>() / 1024
    );
    let noise = noise(64 * MIB, &logs);
    measure("one report in each MiB of noise", &noise, gib, "aim: 2048 MiB/s");
    let only: Vec<u8> = logs.iter().cycle().take(logs.len() * 8).flatten().copied().collect();
    measure("reports only", &only, gib / 4.0, "aim: 500 MiB/s");
}

/// Reads `block` again and again, as one log.
fn measure(what: &str, block: &[u8], gib: f64, aim: &str) {
    let in_one = read_once(block);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number of rounds")]
    let rounds = ((gib * 1024.0 * MIB as f64 / block.len() as f64).ceil() as usize).max(1);
    let (mut reader, mut found) = (LogReader::default(), 0);
    let began = processor_time();
    for _ in 0..rounds {
        for chunk in block.chunks(CHUNK) {
            reader.push(chunk);
            while let Some(finding) = reader.next_finding() {
                found += usize::from(matches!(finding, Finding::Kernel(_)));
            }
        }
    }
    reader.finish();
    found += std::iter::from_fn(|| reader.next_finding())
        .filter(|finding| matches!(finding, Finding::Kernel(_)))
        .count();
    let took = processor_time().saturating_sub(began);
    println!(
        "{what}: {:.0} MiB/s over {:.1} GiB ({aim}); {found} reports ({in_one} in each of {rounds} rounds); at most {} MiB of memory, of which {} MiB are the log",
        speed(block.len() * rounds, took),
        (block.len() * rounds) as f64 / 1024.0 / MIB as f64,
        peak_kib() / 1024,
        block.len() / MIB,
    );
}

fn speed(bytes: usize, took: Duration) -> f64 {
    bytes as f64 / MIB as f64 / took.as_secs_f64()
}

fn read_once(log: &[u8]) -> usize {
    let mut reader = LogReader::default();
    reader.push(log);
    reader.finish();
    std::iter::from_fn(|| reader.next_finding())
        .filter(|finding| matches!(finding, Finding::Kernel(_)))
        .count()
}

fn logs() -> Vec<Vec<u8>> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let folder = std::env::var_os("MEMLET_CORPUS").map_or(own, Into::into);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("a folder of logs")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "log" || extension == "txt"))
        .collect();
    paths.sort();
    // Each ends with a newline, so that they can follow each other.
    let read = |path| {
        let mut log = fs::read(path).expect("a log");
        log.push(b'\n');
        log
    };
    paths.into_iter().map(read).collect()
}

/// `size` bytes as a node's log has them, with one of `logs` in each MiB.
fn noise(size: usize, logs: &[Vec<u8>]) -> Vec<u8> {
    const LINES: [&str; 10] = [
        "kubelet[1042]: I1122 10:01:02.064130    1042 kuberuntime_container.go:808] \"Killing container with a grace period\" pod=\"default/web-6d4cf56db6-x2x9p\" podUID=\"0d4cf56d-b6x2-4f9c-9b57-8d2a6f1c7b11\" containerName=\"web\" gracePeriod=30",
        "containerd[877]: time=\"2024-11-22T10:01:02.064130123Z\" level=info msg=\"StopContainer for \\\"8a1f0c2d3e4b5a69788796a5b4c3d2e1\\\" with timeout 30 (s)\"",
        "systemd[1]: Started Session 4711 of User deploy.",
        "sshd[31337]: Accepted publickey for deploy from 10.0.3.17 port 50022 ssh2: ED25519 SHA256:abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
        "kernel: [ 3770.064130] docker0: port 3(veth12ab34c) entered forwarding state",
        "kernel: [ 3770.064131] IPv6: ADDRCONF(NETDEV_CHANGE): veth12ab34c: link becomes ready",
        "CRON[2222]: (root) CMD (/usr/local/bin/backup --incremental --to /srv/backup)",
        "nginx[808]: 10.0.3.17 - - [22/Nov/2024:10:01:02 +0000] \"GET /api/v1/rooms/42/zoom HTTP/1.1\" 200 5316 \"-\" \"Mozilla/5.0\"",
        "postgres[5432]: [7-1] 2024-11-22 10:01:02.064 UTC [5432] LOG:  checkpoint complete: wrote 4711 buffers (28.8%); 0 WAL file(s) added, 0 removed, 3 recycled",
        "java[9090]: 2024-11-22 10:01:02,064 INFO [main] com.example.Billing - processed 1000 invoices in 512 ms, heap 412M of 1024M",
    ];
    let (mut log, mut state) = (Vec::with_capacity(size + MIB), 1u32);
    let mut next_report = 0;
    while log.len() < size {
        if log.len() >= next_report {
            log.extend_from_slice(&logs[next_report / MIB % logs.len()]);
            next_report += MIB;
        }
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let line = LINES[(state >> 16) as usize % LINES.len()];
        log.extend_from_slice(
            format!("Nov 22 10:{:02}:{:02} node-7 {line}\n", state % 60, (state >> 8) % 60).as_bytes(),
        );
    }
    log
}

/// What this process has used of the processor: the same whatever else runs on the machine.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("a time since the start")
}

/// The most memory that this process has had resident.
fn peak_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
