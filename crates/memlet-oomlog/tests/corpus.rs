//! Logs of others, read in place: the folder that `MEMLET_CORPUS` names holds `*.log` files, each beside a `*.json`
//! that says what a correct reader finds.
//!
//! The logs of this kernel's form must be read without a mistake. For the others, whose sources and older forms are
//! not read yet, the run only says how far the reader gets (with `MEMLET_CORPUS_DETAIL` set, log by log).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use memlet_bytes::Bytes;
use memlet_oomlog::{Collector, Limit, Record, Report};
use serde_json::Value;

/// The logs made by Linux 6.18, from `/dev/kmsg` or any `dmesg` that prints one record a line.
fn is_in_scope(name: &str) -> bool {
    name.contains("-local-6.18-") && !name.ends_with("-json")
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let Some(folder) = std::env::var_os("MEMLET_CORPUS").map(PathBuf::from) else {
        let _ = writeln!(io::stderr(), "MEMLET_CORPUS names no folder: no corpus is read");
        let ignored = Trial::test("corpus", || Ok(())).with_ignored_flag(true);
        return libtest_mimic::run(&arguments, vec![ignored]).exit_code();
    };
    let logs = logs(&folder);
    assert!(!logs.is_empty(), "no log in {}", folder.display());
    let mut tally = BTreeMap::<&str, [u32; 3]>::new();
    let detailed = std::env::var_os("MEMLET_CORPUS_DETAIL").is_some();
    for log in &logs {
        let outcomes = read_and_compare(log);
        let faults: Vec<_> = outcomes.iter().filter(|(_, outcome)| *outcome != Outcome::Right).collect();
        if detailed && !faults.is_empty() {
            let _ = writeln!(io::stderr(), "{}: {faults:?}", stem(log));
        }
        for (field, outcome) in outcomes {
            tally.entry(field).or_default()[outcome as usize] += 1;
        }
    }
    let _ = writeln!(io::stderr(), "{} logs     right  missing  wrong", logs.len());
    for (field, [right, missing, wrong]) in tally {
        let _ = writeln!(io::stderr(), "{field:13} {right:5} {missing:8} {wrong:6}");
    }
    let trials = logs.into_iter().filter(|log| is_in_scope(&stem(log))).map(|log| {
        Trial::test(stem(&log), move || {
            let faults: Vec<_> = read_and_compare(&log)
                .into_iter()
                .filter(|(_, outcome)| *outcome != Outcome::Right)
                .collect();
            if faults.is_empty() { Ok(()) } else { Err(format!("{faults:?}").into()) }
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn logs(folder: &Path) -> Vec<PathBuf> {
    let mut logs: Vec<_> = fs::read_dir(folder)
        .expect("the corpus folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    logs.sort();
    logs
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Right,
    /// The reader says nothing where the log does.
    Missing,
    Wrong,
}

fn read_and_compare(log: &Path) -> Vec<(&'static str, Outcome)> {
    let text = String::from_utf8_lossy(&fs::read(log).expect("a log")).into_owned();
    let expected: Value =
        serde_json::from_slice(&fs::read(log.with_extension("json")).expect("its json")).expect("json");
    let expected = expected["reports"].as_array().expect("reports");
    let mut collector = Collector::default();
    for line in text.lines() {
        collector.push(&record(line));
    }
    let reports = collector.finish();
    let mut outcomes = vec![(
        "reports",
        match reports.len().cmp(&expected.len()) {
            std::cmp::Ordering::Equal => Outcome::Right,
            std::cmp::Ordering::Less => Outcome::Missing,
            std::cmp::Ordering::Greater => Outcome::Wrong,
        },
    )];
    if reports.len() == expected.len() {
        for (report, expected) in reports.iter().zip(expected) {
            compare(report, expected, &mut outcomes);
        }
    }
    outcomes
}

/// The record on a line of `/dev/kmsg`, or of a source that puts a time in brackets before the text.
fn record(line: &str) -> Record {
    if let Ok(record) = Record::parse_kmsg(line.as_bytes()) {
        return record;
    }
    let mut text = line;
    text = text.split_once("kernel: ").map_or(text, |(_, text)| text);
    if let Some((level, rest)) = text.strip_prefix('<').and_then(|text| text.split_once('>'))
        && level.parse::<u8>().is_ok()
    {
        text = rest;
    }
    if let Some(rest) = text.strip_prefix("kern  :") {
        text = rest.split_once(": ").map_or(rest, |(_, rest)| rest);
    }
    if let Some((time, rest)) = text.split_once(' ')
        && time.starts_with(|first: char| first.is_ascii_digit())
        && time.contains('T')
        && time.contains(':')
    {
        text = rest;
    }
    if let Some((time, rest)) = text.strip_prefix('[').and_then(|text| text.split_once("] "))
        && (time.trim().parse::<f64>().is_ok() && time.contains('.') || time.contains(':'))
    {
        text = rest;
    }
    Record::of_text(text)
}

fn compare(report: &Report, expected: &Value, outcomes: &mut Vec<(&'static str, Outcome)>) {
    let kib = |bytes: Option<Bytes>| bytes.map(|bytes| bytes.get() / 1024);
    let mut judge = |field: &'static str, found: Option<Value>, expected: &Value| {
        let outcome = match found {
            Some(found) if found == *expected => Outcome::Right,
            None if expected.is_null() => Outcome::Right,
            // What the log does not say in the judge's eyes may still be known.
            None => Outcome::Missing,
            Some(_) => Outcome::Wrong,
        };
        outcomes.push((field, outcome));
    };
    judge("invoked_by", report.invoked_by.as_ref().map(|by| by.comm.clone().into()), &expected["invoked_by"]);
    let json = serde_json::to_value(report).expect("json");
    let some = |value: &Value| (!value.is_null()).then(|| value.clone());
    judge("constraint", some(&json["constraint"]), &expected["constraint"]);
    let scopes = expected["scope_alt"].as_array();
    if !scopes.is_some_and(|scopes| scopes.contains(&json["scope"])) {
        judge("scope", some(&json["scope"]), &expected["scope"]);
    }
    judge("oom_memcg", some(&json["oomMemcg"]), &expected["oom_memcg"]);
    judge("task_memcg", some(&json["taskMemcg"]), &expected["task_memcg"]);
    let memory = report.memory.as_ref();
    judge("usage_kb", kib(memory.map(|memory| memory.usage)).map(Value::from), &expected["usage_kb"]);
    judge("failcnt", memory.map(|memory| memory.failcnt.into()), &expected["failcnt"]);
    let limit = match memory.map(|memory| memory.limit) {
        // Whatever number the log has for none.
        Some(Limit::Unlimited) => Some(expected["limit_kb"].clone()),
        Some(Limit::Bytes(bytes)) => kib(Some(bytes)).map(Value::from),
        None => None,
    };
    judge("limit_kb", limit, &expected["limit_kb"]);
    if !expected["tasks_listed"].is_null() {
        judge("tasks_listed", Some(report.tasks.len().into()), &expected["tasks_listed"]);
    }
    judge("complete", Some(report.complete.into()), &expected["complete"]);
    let victims = expected["victims"].as_array().expect("victims");
    judge("victims", Some(report.victims.len().into()), &victims.len().into());
    for (victim, expected) in report.victims.iter().zip(victims) {
        judge("pid", Some(victim.pid.into()), &expected["pid"]);
        let other =
            expected["comm_alt"].as_array().is_some_and(|names| names.contains(&victim.comm.as_str().into()));
        if !other {
            judge("comm", Some(victim.comm.as_str().into()), &expected["comm"]);
        }
        judge("uid", victim.uid.map(Value::from), &expected["uid"]);
        judge("adj", victim.oom_score_adj.map(Value::from), &expected["oom_score_adj"]);
        for (field, size) in [
            ("total_vm_kb", victim.total_vm),
            ("anon_rss_kb", victim.anon_rss),
            ("file_rss_kb", victim.file_rss),
            ("shmem_rss_kb", victim.shmem_rss),
        ] {
            judge(field, kib(size).map(Value::from), &expected[field]);
        }
    }
    if report.complete && !report.victims.is_empty() {
        judge("choice_agrees", report.choice_agrees().map(Value::from), &true.into());
    }
}
