//! What an OOM kill takes along: the process, the container, the whole Pod, as the Pod's annotation says.

use libtest_mimic::Failed;
use memlet_cgroup::Version;
use serde_json::Value;

use crate::house::House;
use crate::kills::container_status;
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("oom-kill-mode: process spares the container", process),
        test("oom-kill-mode: container takes the main process along", container),
        test("oom-kill-mode: pod takes the other containers along", pod),
        test("oom-kill-mode: each container may have its own", each),
        test("oom-kill-mode: a mistake is refused by name", mistake),
        test("oom-kill-mode: the node's own rule", of_node),
        test("oom-kill-mode: cgroup v1 has no group kill to ask a node for", group_kill_on_v1)
            .only_on(Version::V1),
    ]
}

/// `eater` loses a child by the OOM killer and would end by itself with 0; `other` only waits.
fn manifest(annotation: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations: {{memlet.dev/oom-kill-mode: '{annotation}'}}\n\
         spec:\n  restartPolicy: Never\n  containers:\n  \
         - {{name: eater, image: memlet.dev/memory-eater, args: ['300', '0.05', '--children', '1'], resources: {{limits: {{memory: 64Mi}}}}}}\n  \
         - {{name: other, image: memlet.dev/memory-eater, args: ['32', '0.5']}}\n"
    )
}

/// The same with an `eater` that takes its time, so that `other` runs by then, and goes on with another child where one
/// is lost.
fn enduring(annotation: &str) -> String {
    manifest(annotation).replace("'0.05', '--children', '1'", "'0.2', '--children', '3'")
}

/// Reason, exit code and message of a container's end.
fn end(document: &Value, name: &str) -> (String, i64, String) {
    let ended = &container_status(document, name)["state"]["terminated"];
    let text = |key: &str| ended[key].as_str().unwrap_or_default().to_owned();
    (text("reason"), ended["exitCode"].as_i64().unwrap_or(-1), text("message"))
}

fn process() -> Result<(), Failed> {
    let house = House::new()?;
    let document = house.run(&manifest("process"), &["-o", "json"])?.exits(0).json()?;
    assert_eq!(end(&document, "eater"), ("Completed".into(), 0, String::new()));
    assert_eq!(end(&document, "other"), ("Completed".into(), 0, String::new()));
    assert_eq!(document["killRecords"][0]["victim"], "child", "{:#}", document["killRecords"]);
    house.nothing_is_left()
}

/// On v2 the kernel itself kills the group, and so the main process too; on v1 the supervisor does.
fn container() -> Result<(), Failed> {
    let house = House::new()?;
    let document = house.run(&enduring("container"), &["-o", "json"])?.exits(137).json()?;
    let (reason, code, message) = end(&document, "eater");
    if crate::house::version() == Some(Version::V2) {
        assert_eq!((reason.as_str(), code), ("OOMKilled", 137));
    } else {
        assert_eq!((reason.as_str(), code), ("Error", 137));
        assert!(
            message
                .contains("killed a process in container eater, and memlet.dev/oom-kill-mode is container"),
            "{message}"
        );
        let headline = document["verdicts"][0]["headline"].as_str().unwrap_or_default();
        assert!(headline.contains("along with a process of this container"), "{headline}");
    }
    assert_eq!(end(&document, "other"), ("Completed".into(), 0, String::new()));
    assert_eq!(document["killRecords"].as_array().map(Vec::len), Some(1), "{:#}", document["killRecords"]);
    house.nothing_is_left()
}

fn pod() -> Result<(), Failed> {
    let house = House::new()?;
    // It would live until the run is ended, were it not taken along.
    let manifest = enduring("pod").replace("['32', '0.5']", "['8', '0', '--hold']");
    let document = house.run(&manifest, &["-o", "json"])?.exits(137).json()?;
    assert_eq!(end(&document, "eater").1, 137);
    let (reason, code, message) = end(&document, "other");
    assert_eq!((reason.as_str(), code), ("Error", 137), "the OOM killer did not kill it");
    assert!(
        message.contains("killed a process in container eater, and memlet.dev/oom-kill-mode is pod"),
        "{message}"
    );
    assert_eq!(document["killRecords"].as_array().map(Vec::len), Some(1), "{:#}", document["killRecords"]);
    let told = house.run(&manifest, &[])?;
    told.exits(137).says("other: Error (exit code 137: SIGKILL by the container runtime, along with a process of container eater)");
    house.nothing_is_left()
}

fn each() -> Result<(), Failed> {
    let house = House::new()?;
    let document = house.run(&manifest("eater=process,other=pod"), &["-o", "json"])?.exits(0).json()?;
    assert_eq!(end(&document, "eater").0, "Completed");
    house.nothing_is_left()
}

fn mistake() -> Result<(), Failed> {
    let house = House::new()?;
    let ran = house.run(&manifest("everything"), &[])?;
    ran.exits(2).complains("\"everything\" is not an OOM kill mode; write process, container or pod");
    house.run(&manifest("eater=pod,third=pod"), &[])?.exits(2).complains("no container \"third\"");
    house.nothing_is_left()
}

fn of_node() -> Result<(), Failed> {
    let house = House::new()?;
    let pod = manifest("").replace("  annotations: {memlet.dev/oom-kill-mode: ''}\n", "");
    let document = house.run(&pod, &["-o", "json", "--single-process-oom-kill"])?.exits(0).json()?;
    assert_eq!(end(&document, "eater").0, "Completed");
    house.nothing_is_left()
}

fn group_kill_on_v1() -> Result<(), Failed> {
    let house = House::new()?;
    let ran = house.run(&manifest("process"), &["--single-process-oom-kill=false"])?;
    ran.exits(2).complains("singleProcessOOMKill must not be explicitly set to false when using cgroup v1");
    house.nothing_is_left()
}
