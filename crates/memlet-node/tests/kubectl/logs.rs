//! `kubectl logs`, with its options.

use std::process::Stdio;

use libtest_mimic::Failed;

use crate::Test;
use crate::bench::Bench;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("logs: options", options),
    ("logs: containers, and refusals", containers),
    ("logs: of the instance before", previous),
    ("logs: followed to the end", followed),
    ("logs: a follower misses nothing while they are rotated", rotated),
];

fn options(bench: &Bench) -> Result<(), Failed> {
    bench.create("p", "Never", &[("c", "echo one; echo two >&2; sleep 3; echo three; echo -n end")]);
    bench.wait_for("p", ".status.phase", "Succeeded")?;
    bench.kubectl(&["logs", "p"]).exits(0).prints("one\ntwo\nthree\nend");
    bench.kubectl(&["logs", "p", "--tail=2"]).exits(0).prints("three\nend");
    bench.kubectl(&["logs", "p", "--tail=0"]).exits(0).prints("");
    bench.kubectl(&["logs", "p", "--limit-bytes=5"]).exits(0).prints("one\nt");
    let ran = bench.kubectl(&["logs", "p", "--timestamps", "--tail=3"]).exits(0);
    let lines: Vec<(&str, &str)> = ran.stdout.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(lines.iter().map(|(_, text)| *text).collect::<Vec<_>>(), ["two", "three", "end"]);
    let times: Vec<jiff::Timestamp> = lines.iter().map(|(time, _)| time.parse().unwrap()).collect();
    assert!(times.is_sorted());
    bench.kubectl(&["logs", "p", &format!("--since-time={}", times[1])]).exits(0).prints("three\nend");
    bench.kubectl(&["logs", "p", "--since=1h"]).exits(0).prints("one\ntwo\nthree\nend");
    bench.kubectl(&["logs", "p", "--prefix", "--tail=1"]).exits(0).prints("[pod/p/c] end");
    // Its end is the log's: nothing is waited for.
    bench.kubectl(&["logs", "p", "-f"]).exits(0).prints("one\ntwo\nthree\nend");
    Ok(())
}

fn containers(bench: &Bench) -> Result<(), Failed> {
    bench.create("two", "Never", &[("a", "echo of a"), ("b", "echo of b")]);
    bench.wait_for("two", ".status.phase", "Succeeded")?;
    bench.kubectl(&["logs", "two", "-c", "b"]).exits(0).prints("of b\n");
    // In what order is kubectl's own affair.
    let sorted = |arguments: &[&str]| {
        let ran = bench.kubectl(arguments).exits(0);
        let mut lines: Vec<String> = ran.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&["logs", "two", "--all-containers"]), ["of a", "of b"]);
    assert_eq!(
        sorted(&["logs", "two", "--all-containers", "--prefix"]),
        ["[pod/two/a] of a", "[pod/two/b] of b"]
    );
    bench.kubectl(&["logs", "two", "-c", "x"]).exits(1).complains("container x is not valid for pod two");
    bench
        .kubectl(&["get", "--raw", "/api/v1/namespaces/default/pods/two/log"])
        .exits(1)
        .complains("a container name must be specified for pod two, choose one of: [a b]");
    bench.kubectl(&["logs", "nobody"]).exits(1).complains(r#"pods "nobody" not found"#);
    let missing = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"m"},"spec":{"nodeName":"node","containers":[{"name":"c","image":"example.org/missing:1"}]}}"#;
    bench.kubectl_with(&["create", "--validate=false", "-f", "-"], missing).exits(0);
    bench.wait_for("m", ".status.containerStatuses[0].state.waiting.reason", "ImagePullBackOff")?;
    bench
        .kubectl(&["logs", "m"])
        .exits(1)
        .complains(r#"container "c" in pod "m" is waiting to start: trying and failing to pull image"#);
    bench
        .kubectl(&["logs", "two", "-c", "a", "-p"])
        .exits(1)
        .complains(r#"previous terminated container "a" in pod "two" not found"#);
    Ok(())
}

fn previous(bench: &Bench) -> Result<(), Failed> {
    let script = "if [ -e /dev/shm/ran ]; then echo second; sleep 1000; fi; echo first >/dev/shm/ran; echo first; exit 3";
    bench.create("p", "Always", &[("c", script)]);
    bench.wait_for("p", ".status.containerStatuses[0].restartCount", "1")?;
    bench.wait_running("p")?;
    bench.kubectl(&["logs", "p", "-p"]).exits(0).prints("first\n");
    bench.kubectl(&["logs", "p"]).exits(0).prints("second\n");
    Ok(())
}

fn followed(bench: &Bench) -> Result<(), Failed> {
    bench.create(
        "p",
        "Never",
        &[("c", "for n in 1 2 3 4 5 6; do echo line $n; sleep 0.5; done; echo -n end")],
    );
    bench.wait_running("p")?;
    let all = "line 1\nline 2\nline 3\nline 4\nline 5\nline 6\nend";
    bench.kubectl(&["logs", "p", "-f"]).exits(0).prints(all);
    Ok(())
}

fn rotated(bench: &Bench) -> Result<(), Failed> {
    let script = "n=0; while [ $n -lt 6 ]; do n=$((n+1)); seq ${n}00000 ${n}09999; sleep 1.1; done";
    bench.create("p", "Never", &[("c", script)]);
    bench.wait_running("p")?;
    let slow = bench.command(&["logs", "p", "-f"]).stdout(Stdio::piped()).spawn()?;
    let ran = bench.kubectl(&["logs", "p", "-f"]).exits(0);
    let expected: Vec<u32> = (1..=6).flat_map(|n| n * 100_000..n * 100_000 + 10_000).collect();
    let numbers: Vec<u32> = ran.stdout.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers == expected, "{} of {} lines", numbers.len(), expected.len());
    // One that has read nothing until now, while the first files were removed.
    let folder = bench.folder.path().join("logs");
    let pods: Vec<_> = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    let log = pods[0].join("c/0.log");
    assert_eq!(memlet_policy::logs::rotated(&log)?.len(), crate::bench::ROTATION.max_files - 1);
    let output = slow.wait_with_output()?;
    let numbers: Vec<u32> =
        String::from_utf8(output.stdout)?.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers == expected, "a slow follower has {} of {} lines", numbers.len(), expected.len());
    // What is still there is all given, compressed or not.
    let ran = bench.kubectl(&["logs", "p"]).exits(0);
    let numbers: Vec<u32> = ran.stdout.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.len() > 25_000 && expected.ends_with(&numbers), "{} lines", numbers.len());
    let tail: String =
        expected[expected.len() - 15_000..].iter().map(|number| format!("{number}\n")).collect();
    assert!(bench.kubectl(&["logs", "p", "--tail=15000"]).exits(0).stdout == tail, "over two files");
    Ok(())
}
