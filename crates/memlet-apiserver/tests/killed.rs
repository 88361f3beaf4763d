//! What the server told is there after its process was killed.
//!
//! This program is the test, and, when it is started with a folder in its environment, the process that is killed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use libtest_mimic::{Arguments, Trial};
use memlet_apiserver::{ApiServer, Settings};
use serde_json::json;

/// Where the killed process writes, and how it calls what it writes.
const FOLDER: &str = "MEMLET_TEST_FOLDER";
const ROUND: &str = "MEMLET_TEST_ROUND";
/// Clients that write at the same time.
const WRITERS: usize = 4;

fn main() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return write_all(Path::new(&folder), &std::env::var(ROUND).unwrap());
    }
    let kill = Trial::test("what_was_told_is_there_after_a_kill", || {
        what_was_told_is_there_after_a_kill();
        Ok(())
    });
    libtest_mimic::run(&Arguments::from_args(), vec![kill]).exit();
}

/// Kills a process that writes, at moments that differ, and looks whether all that it told is there.
fn what_was_told_is_there_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = BTreeMap::new();
    let mut latest = 0;
    for round in 0..12_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(FOLDER, folder.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || output.lines().collect::<Result<Vec<_>, _>>().unwrap());
        // From before the file is open to well into the writing; no two rounds alike.
        std::thread::sleep(Duration::from_millis(5 + round * round * 4 + u64::from(child.id() % 23)));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in reader.join().unwrap() {
            let [name, value, revision] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            latest = latest.max(revision.parse().unwrap());
            told.insert(name.to_owned(), value.to_owned());
        }
        latest = check(folder.path(), &told, latest);
    }
    assert!(told.len() > 100, "only {} objects were written", told.len());
}

/// Opens the server; gives its revision.
#[tokio::main(flavor = "current_thread")]
async fn check(folder: &Path, told: &BTreeMap<String, String>, latest: u64) -> u64 {
    let server = ApiServer::open(folder, Settings::default()).unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let list = maps.list(&ListParams::default()).await.unwrap();
    let mut found: BTreeMap<_, _> = list
        .items
        .into_iter()
        .map(|map| (map.metadata.name.unwrap(), map.data.unwrap()["value"].clone()))
        .collect();
    for (name, value) in told {
        // What was under way when it was told last may have come one step further.
        match (value.as_str(), found.remove(name).as_deref()) {
            ("0", Some("0" | "1")) | ("1", Some("1") | None) | ("gone", None) => {}
            (told, found) => panic!("{name} was told to be {told:?} and is {found:?}"),
        }
    }
    let present: u64 = list.metadata.resource_version.unwrap().parse().unwrap();
    assert!(present >= latest, "the revision went back from {latest} to {present}");
    server.close();
    present
}

/// Writes for as long as this process lives.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn write_all(folder: &Path, round: &str) {
    let server = ApiServer::open(folder, Settings::default()).unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let maps = Api::default_namespaced(server.client());
        tokio::spawn(write(maps, format!("r{round}-w{writer}")))
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap().unwrap();
    }
}

/// Creates, changes and sometimes deletes objects; each line is `NAME VALUE REVISION`, with `gone` for a deleted one.
async fn write(maps: Api<ConfigMap>, prefix: String) -> Result<(), kube::Error> {
    for count in 0_u64.. {
        let name = format!("{prefix}-{count}");
        let map: ConfigMap = serde_json::from_value(json!({
            "metadata": {"name": name}, "data": {"value": "0", "filling": "x".repeat(200)},
        }))
        .map_err(kube::Error::SerdeError)?;
        let created = maps.create(&PostParams::default(), &map).await?;
        told(&name, "0", created.metadata.resource_version.as_deref());
        let patch = json!({"data": {"value": "1"}});
        let patched = maps.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        told(&name, "1", patched.metadata.resource_version.as_deref());
        if count % 3 == 0 {
            maps.delete(&name, &DeleteParams::default()).await?;
            told(&name, "gone", Some("0"));
        }
    }
    Ok(())
}

/// One write for the whole line: a kill leaves no half of one.
fn told(name: &str, value: &str, revision: Option<&str>) {
    let line = format!("{name} {value} {}\n", revision.unwrap_or_default());
    // Without a reader there is nobody left to tell.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}
