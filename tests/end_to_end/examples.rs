//! Every example that lies beside an expectation is run and held against it.

use std::fs;
use std::path::Path;

use libtest_mimic::Failed;
use memlet_cgroup::Version;
use serde::Deserialize;

use crate::house::{House, checkout, finish};
use crate::{Test, test};

/// `<name>.expect.yaml`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expectation {
    exit_code: i32,
    reason: String,
    kill_records: usize,
    #[serde(default)]
    log: Vec<String>,
    #[serde(default)]
    not_log: Vec<String>,
    #[serde(default)]
    verdict: Vec<String>,
    #[serde(default)]
    not_verdict: Vec<String>,
}

pub(crate) fn tests() -> Vec<Test> {
    let folders =
        ["1-limits-and-malloc", "4-pod-and-oom-killer"].map(|it| checkout().join("examples").join(it));
    let files = |folder| fs::read_dir(folder).expect("the examples are there").flatten();
    let mut files: Vec<_> = folders.iter().flat_map(files).map(|it| it.path()).collect();
    files.sort();
    let manifests = files.into_iter().filter(|path| {
        path.extension().is_some_and(|ending| ending == "yaml") && path.with_extension("expect.yaml").exists()
    });
    manifests
        .map(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            // On v2 the kernel kills the container with its child: another story than the one expected.
            let only_v1 = name == "child.yaml";
            let test = test(format!("example {name}"), move || holds(&path));
            if only_v1 { test.only_on(Version::V1) } else { test }
        })
        .collect()
}

fn holds(manifest: &Path) -> Result<(), Failed> {
    let expected = fs::read_to_string(manifest.with_extension("expect.yaml"))?;
    let expected: Expectation = serde_saphyr::from_str(&expected)?;
    let manifest = manifest.to_str().expect("the checkout's path is text");
    let house = House::new()?;
    let ran = finish(house.command(&[manifest]).spawn()?)?;
    ran.exits(expected.exit_code);
    let (story, verdict) = ran.stdout.split_once("\n\n").expect("a blank line before the verdict");
    let is_ours = |line: &&str| line.starts_with("--");
    let log: Vec<_> = story.lines().filter(|line| !is_ours(line)).collect();
    for line in &expected.log {
        assert!(log.contains(&line.as_str()), "no line {line:?} in {log:#?}");
    }
    for text in &expected.not_log {
        assert!(!log.iter().any(|line| line.contains(text)), "{text:?} in {log:#?}");
    }
    for text in &expected.verdict {
        assert!(verdict.contains(text), "no {text:?} in:\n{verdict}");
    }
    for text in &expected.not_verdict {
        assert!(!verdict.contains(text), "{text:?} in:\n{verdict}");
    }
    house.nothing_is_left()?;
    let ran = finish(house.command(&["-o", "json", manifest]).spawn()?)?;
    let document = ran.exits(expected.exit_code).json()?;
    let status = &document["pods"][0]["status"]["containerStatuses"][0];
    assert_eq!(status["state"]["terminated"]["reason"], expected.reason, "{status:#}");
    assert_eq!(document["killRecords"].as_array().map(Vec::len), Some(expected.kill_records));
    house.nothing_is_left()
}
