//! Logs of others, read in place: the folder that `MEMLET_CORPUS` names holds `*.log` files, each beside a `*.json`
//! that says what a correct reader finds.
//!
//! Each must be read without a mistake, but for what [`KNOWN`] lists with its reason.

mod reading;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use memlet_bytes::Bytes;
use memlet_oomlog::{Choice, Limit, Obstacle, Report};
use reading::reports;
use serde_json::Value;

/// What is not read as the judge reads it, and why.
const KNOWN: [(&str, &str, &str); 4] = [
    (
        "061-alloc-anon-6.x-wrapped-cut",
        "uid",
        "the table has a row for the victim, with its user; the judge looked at the cut lines alone",
    ),
    ("019-syzkaller-4.20-header-inside-panic", "kernel", "another stack dump, before the report, names it"),
    ("170-syzbot-5.17-pipe-quoted", "kernel", "another stack dump, behind the report, names it"),
    (
        "171-ext4-4.19-wrapped-kills-score-187000",
        "kernel",
        "another stack dump, behind the reports, names it",
    ),
];

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
    let trials = logs.into_iter().map(|log| {
        Trial::test(stem(&log), move || {
            let name = stem(&log);
            let known = |field: &str| KNOWN.iter().any(|(log, known, _)| *log == name && *known == field);
            let faults: Vec<_> = read_and_compare(&log)
                .into_iter()
                .filter(|(field, outcome)| *outcome != Outcome::Right && !known(field))
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
    let expected: Value =
        serde_json::from_slice(&fs::read(log.with_extension("json")).expect("its json")).expect("json");
    let kernel = expected["kernel"].as_str().filter(|_| expected["kernel_in_log"] == true);
    let expected = expected["reports"].as_array().expect("reports");
    let reports = reports(&fs::read(log).expect("a log"));
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
    outcomes.push(("kernel", compare_kernel(&reports, kernel)));
    outcomes
}

/// `expected` lists the releases that the log names; a report that lacks its stack dump has none.
fn compare_kernel(reports: &[Report], expected: Option<&str>) -> Outcome {
    let mut found = reports.iter().filter_map(|report| report.kernel.as_deref()).peekable();
    match expected {
        Some(_) if found.peek().is_none() => Outcome::Missing,
        Some(expected) if !found.all(|found| expected.contains(found)) => Outcome::Wrong,
        _ => Outcome::Right,
    }
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
    judge("failcnt", memory.and_then(|memory| memory.failcnt).map(Value::from), &expected["failcnt"]);
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
        judge("score", victim.score.map(Value::from), &expected["score"]);
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
    // Where the kernel was told to list no processes, nothing can be computed; that is said.
    let untold = Choice::Unknown { why: Obstacle::NoTable };
    if report.complete && !report.victims.is_empty() && report.choice() != untold {
        judge("choice_agrees", report.choice_agrees().map(Value::from), &true.into());
    }
}
