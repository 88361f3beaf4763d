//! kubectl's commands against a node, as people use them one after another.

use std::process::Stdio;

use libtest_mimic::Failed;
use serde_json::Value;

use super::{Node, holder, is_running};
use crate::house::finish;
use crate::{Test, test_with};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test_with("kubectl: objects are made, changed and deleted", &["kubectl"], objects),
        test_with("kubectl: apply, diff, label, annotate, patch, edit, replace", &["kubectl"], changes),
        test_with("kubectl: wrong input is told as by a cluster", &["kubectl"], wrong_input),
        test_with(
            "kubectl: explain, api-resources, version, cluster-info, auth",
            &["kubectl"],
            about_the_api,
        ),
        test_with("kubectl: top nodes and Pods", &["kubectl"], top),
        test_with(
            "kubectl: configMaps, secrets and the downward API reach a container",
            &["kubectl", "busybox", "umoci", "skopeo"],
            configuration,
        ),
        test_with("kubectl: run, exec, attach, cp", &["kubectl", "busybox", "umoci", "skopeo"], streams),
        test_with("node: a static Pod and its mirror", &["kubectl"], static_pod),
    ]
}

fn objects() -> Result<(), Failed> {
    let node = Node::start()?;
    node.kubectl(&["create", "namespace", "a"])?.exits(0).says("namespace/a created");
    node.kubectl_stdin(&["create", "-n", "a", "-f", "-"], &holder("p", "32Mi"))?
        .exits(0)
        .says("pod/p created");
    node.kubectl(&["wait", "-n", "a", "--for=condition=Ready", "pod/p", "--timeout=20s"])?
        .exits(0)
        .says("pod/p condition met");
    node.kubectl(&["get", "pods", "-A"])?
        .exits(0)
        .says("NAMESPACE   NAME   READY   STATUS    RESTARTS   AGE");
    node.kubectl(&["get", "pods", "-n", "a", "-o", "wide"])?
        .exits(0)
        .says("NOMINATED NODE   READINESS GATES");
    node.kubectl(&["get", "pods", "-n", "a", "-o", "name"])?.exits(0).says("pod/p");
    node.kubectl(&["get", "all", "-n", "a"])?.exits(0).says("p      1/1     Running");
    node.kubectl(&["get", "events", "-n", "a"])?.exits(0).says("Scheduled").says("Started");
    node.kubectl(&["get", "pods", "-n", "a", "--field-selector", "status.phase=Running"])?
        .exits(0)
        .says("p ");
    node.kubectl(&["get", "pods", "-n", "a", "-l", "x=y"])?.exits(0).complains("No resources found");
    node.kubectl(&["delete", "namespace", "a"])?.exits(0).says("namespace \"a\" deleted");
    node.kubectl(&["get", "pod", "p", "-n", "a"])?.exits(1).complains("NotFound");
    node.end()
}

fn changes() -> Result<(), Failed> {
    let node = Node::start()?;
    let manifest = holder("p", "32Mi");
    node.kubectl_stdin(&["apply", "-f", "-"], &manifest)?.exits(0).says("pod/p created");
    node.kubectl_stdin(&["apply", "-f", "-"], &manifest)?.exits(0).says("pod/p unchanged");
    node.kubectl_stdin(&["diff", "-f", "-"], &manifest)?.exits(0);
    let larger = manifest.replace("32Mi", "64Mi");
    node.kubectl_stdin(&["diff", "-f", "-"], &manifest.replace("{name: p}", "{name: p, labels: {a: b}}"))?
        .exits(1)
        .says("+    a: b");
    node.kubectl_stdin(&["apply", "-f", "-"], &larger)?
        .exits(1)
        .complains("pod updates may not change fields other than");
    node.kubectl(&["label", "pod", "p", "colour=red"])?.exits(0).says("pod/p labeled");
    node.kubectl(&["label", "pod", "p", "colour=blue"])?.exits(1).complains("--overwrite is false");
    node.kubectl(&["annotate", "pod", "p", "note=x"])?.exits(0).says("pod/p annotated");
    node.kubectl(&["patch", "pod", "p", "--type=merge", "-p", r#"{"metadata":{"labels":{"a":"b"}}}"#])?
        .exits(0);
    node.kubectl(&[
        "patch",
        "pod",
        "p",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/metadata/labels/a"}]"#,
    ])?
    .exits(0);
    let mut edit = node.kubectl_command(&["edit", "pod", "p"]);
    finish(edit.env("KUBE_EDITOR", "sed -i s/red/green/").stdin(Stdio::null()).spawn()?)?
        .exits(0)
        .says("edited");
    assert_eq!(node.get("pod/p")?["metadata"]["labels"]["colour"], "green");
    node.kubectl_stdin(&["apply", "--server-side", "-f", "-"], &manifest)?.exits(0);
    node.kubectl_stdin(&["replace", "--force", "-f", "-"], &larger)?.exits(0).says("pod/p replaced");
    node.wait_for("pod/p", |pod| {
        pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "64Mi" && is_running(pod)
    })?;
    node.kubectl_stdin(&["delete", "-f", "-"], &larger)?.exits(0).says("pod \"p\" deleted");
    node.end()
}

fn wrong_input() -> Result<(), Failed> {
    let node = Node::start()?;
    let create = |manifest: &str| node.kubectl_stdin(&["create", "-f", "-"], manifest);
    create(&holder("p", "32Mib"))?.exits(1).complains("quantities must match the regular expression");
    let request = holder("p", "32Mi").replace("limits:", "requests: {memory: 64Mi}, limits:");
    create(&request)?
        .exits(1)
        .complains("spec.containers[0].resources.requests: Invalid value: \"64Mi\": must be less than or equal to memory limit of 32Mi");
    create(&holder("p", "32Mi").replace("image:", "imagine: x\n    image:"))?
        .exits(1)
        .complains("strict decoding error: unknown field \"spec.containers[0].imagine\"");
    create(&holder("P", "32Mi"))?.exits(1).complains("metadata.name: Invalid value: \"P\"");
    node.kubectl(&["get", "pod", "p"])?
        .exits(1)
        .complains("Error from server (NotFound): pods \"p\" not found");
    node.kubectl(&["get", "deployments"])?
        .exits(1)
        .complains("the server doesn't have a resource type \"deployments\"");
    node.create(&holder("p", "32Mi"))?;
    create(&holder("p", "32Mi"))?.exits(1).complains("pods \"p\" already exists");
    node.kubectl(&["logs", "p", "-c", "x"])?.exits(1).complains("container x is not valid for pod p");
    node.kubectl(&["get", "pods", "--field-selector", "spec.x=y"])?
        .exits(1)
        .complains("field label not supported: spec.x");
    node.end()
}

fn about_the_api() -> Result<(), Failed> {
    let node = Node::start()?;
    node.kubectl(&["explain", "pod.spec.containers.resources"])?
        .exits(0)
        .says("KIND:       Pod")
        .says("FIELD: resources <ResourceRequirements>")
        .says("limits\t<map[string]Quantity>");
    node.kubectl(&["api-resources"])?.exits(0).says("pods").says("priorityclasses").says("events.k8s.io/v1");
    node.kubectl(&["api-versions"])?.exits(0).says("metrics.k8s.io/v1beta1");
    node.kubectl(&["version"])?.exits(0).says("+memlet");
    node.kubectl(&["auth", "can-i", "delete", "pods"])?.exits(0).says("yes");
    node.kubectl(&["auth", "whoami"])?.exits(0).says("kubernetes-admin");
    node.kubectl(&["get", "--raw", "/readyz?verbose"])?.exits(0).says("readyz check passed");
    node.kubectl(&["get", "--raw", "/metrics"])?.exits(0).says("apiserver_request_total");
    node.kubectl(&["get", "priorityclasses"])?.exits(0).says("system-node-critical");
    node.kubectl(&["get", "leases", "-n", "kube-node-lease"])?.exits(0).says("memlet");
    node.end()
}

fn top() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory", "1Gi"])?;
    node.create(&holder("a", "64Mi"))?;
    node.wait_for("pod/a", is_running)?;
    let nodes = node.kubectl(&["top", "node", "--no-headers"])?;
    let full =
        nodes.exits(0).stdout.split_whitespace().last().and_then(|it| it.strip_suffix('%')?.parse().ok());
    assert!(full.is_some_and(|full: u32| full < 10), "8 MB of a node of 1Gi are used: {}", nodes.stdout);
    let table = node.kubectl(&["top", "pod", "--containers"])?;
    table.exits(0).says("main");
    let row = table.stdout.lines().find(|line| line.contains("main")).expect("it was just there");
    let shown: u64 =
        row.split_whitespace().last().and_then(|it| it.strip_suffix("Mi")?.parse().ok()).ok_or(row)?;
    assert!((7..=20).contains(&shown), "8 MB are held: {row}");
    node.end()
}

/// What busybox prints of its environment and its volumes.
fn configuration() -> Result<(), Failed> {
    let node = Node::start()?;
    crate::images::import_busybox(&node.house)?;
    node.kubectl(&["create", "configmap", "c", "--from-literal=colour=red"])?.exits(0);
    node.kubectl(&["create", "secret", "generic", "s", "--from-literal=word=hush"])?.exits(0);
    node.create(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n  volumes:\n  - {name: c, configMap: \
         {name: c}}\n  containers:\n  - name: main\n    image: busybox:test\n    imagePullPolicy: Never\n    command: [sh, -c, 'echo \
         $COLOUR $WORD $LIMIT $(cat /c/colour) $(cat /var/run/secrets/kubernetes.io/serviceaccount/namespace)']\n    \
         resources: {limits: {memory: 64Mi}}\n    volumeMounts: [{name: c, mountPath: /c}]\n    env:\n    - {name: COLOUR, \
         valueFrom: {configMapKeyRef: {name: c, key: colour}}}\n    - {name: WORD, valueFrom: {secretKeyRef: {name: s, key: \
         word}}}\n    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory}}}\n",
    )?;
    node.wait_for("pod/p", |pod| pod["status"]["phase"] == "Succeeded")?;
    node.kubectl(&["logs", "p"])?.exits(0).says("red hush 67108864 red default");
    node.end()
}

fn streams() -> Result<(), Failed> {
    let node = Node::start()?;
    crate::images::import_busybox(&node.house)?;
    let limited = r#"{"spec":{"containers":[{"name":"sh","image":"busybox:test","imagePullPolicy":"Never","stdin":true,"stdinOnce":true,"command":["sh"],"resources":{"limits":{"memory":"123Mi"}}}]}}"#;
    let run = ["run", "--restart=Never", "--rm", "-i", "--image=busybox:test", "sh", "--overrides", limited];
    let ran = node.kubectl_stdin(&run, "echo hello from $HOSTNAME; exit 3\n")?;
    ran.says("hello from sh");
    assert_eq!(ran.code, Some(3), "{ran:?}");

    node.create(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  - {name: \
         main, image: 'busybox:test', imagePullPolicy: Never, command: [sh, -c, 'while :; do echo tick; sleep 0.2; done'], resources: \
         {limits: {memory: 64Mi}}}\n",
    )?;
    node.wait_for("pod/p", is_running)?;
    node.kubectl(&["exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 7"])?
        .exits(7)
        .says("out")
        .complains("err");
    node.kubectl_stdin(&["exec", "-i", "p", "--", "cat"], "through and through")?
        .exits(0)
        .says("through and through");
    node.kubectl(&["exec", "p", "--", "nothing-of-the-kind"])?.exits(127);
    let file = node.house.write("file", "to and fro")?;
    let file = file.to_str().expect("temporary paths are text");
    node.kubectl(&["cp", file, "p:/tmp/file"])?.exits(0);
    node.kubectl(&["exec", "p", "--", "cat", "/tmp/file"])?.exits(0).says("to and fro");
    let mut attach = node.kubectl_command(&["attach", "p"]).spawn()?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    attach.kill()?;
    finish(attach)?.says("tick");
    node.kubectl(&["logs", "p", "--tail", "2", "--timestamps"])?.exits(0).says("tick");
    node.end()
}

fn static_pod() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("a.yaml"), holder("a", "32Mi"))?;
    let node =
        Node::start_with(&["--static-pods", folder.path().to_str().expect("temporary paths are text")])?;
    let mirror = node.wait_for("pod/a-memlet", is_running)?;
    assert!(mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string(), "{mirror:#}");
    std::fs::remove_file(folder.path().join("a.yaml"))?;
    node.wait_for("pod/a-memlet", Value::is_null)?;
    node.end()
}
