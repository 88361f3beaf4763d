//! Several nodes in one program, as article 2 scales a node pool.

use libtest_mimic::Failed;
use serde_json::Value;

use super::{Node, is_running};
use crate::{Test, test_with};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test_with("pool: a Pod that fits nowhere runs when a node is added", &["kubectl"], scaled),
        test_with("pool: killed, started with fewer nodes, ended", &["kubectl"], killed),
        test_with("pool: a file's nodes, labels and taints", &["kubectl"], of_a_file),
    ]
}

/// A Pod that requests so much.
fn wanting(name: &str, memory: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
         - name: main\n    image: memlet.dev/memory-eater\n    args: ['8', '0', '--hold']\n    resources: {{requests: {{memory: \
         {memory}}}}}\n"
    )
}

fn node_of(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

fn scaled() -> Result<(), Failed> {
    let node = Node::start_with(&["--nodes", "2", "--node-memory", "1Gi"])?;
    let listed = node.kubectl(&["get", "nodes", "-o", "name"])?;
    listed.exits(0).says("node/memlet-1\nnode/memlet-2\n");
    for pod in ["a", "b", "c"] {
        node.create(&wanting(pod, "600Mi"))?;
    }
    let placed = [node.wait_for("pod/a", is_running)?, node.wait_for("pod/b", is_running)?];
    assert_ne!(node_of(&placed[0]), node_of(&placed[1]), "each is on its own");
    // The limit is each node's own.
    node.memlet(&["inspect", "a"])?.exits(0).says(&format!(
        "{}/{}/kubepods",
        node.house.root,
        node_of(&placed[0])
    ));
    let waits = |pod: &Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
    let waiting = node.wait_for("pod/c", waits)?;
    let message = waiting["status"]["conditions"][0]["message"].as_str().unwrap_or_default();
    assert_eq!(
        message,
        "0/2 nodes are available: 2 Insufficient memory. no new claims to deallocate, preemption: 0/2 nodes are available: 2 No \
         preemption victims found for incoming pod."
    );
    node.memlet(&["node", "add", "memlet-1"])?.exits(2).complains("there is a node memlet-1 already");
    node.memlet(&["node", "add", "tiny", "--memory", "50Mi"])?.exits(2).complains("leaves nothing for Pods");
    let added = node.memlet(&["node", "add", "large", "--memory", "2Gi", "--label", "disk=ssd"])?;
    added.exits(0).complains("node large: 2Gi of memory, 1.9Gi of it for requests");
    assert_eq!(node_of(&node.wait_for("pod/c", is_running)?), "large");
    assert_eq!(node.get("node/large")?["metadata"]["labels"]["disk"], "ssd");
    node.memlet(&["ps"])?.exits(0).says("   NODE\n").says("large");

    // And back: drained, then removed.
    node.memlet(&["node", "rm", "large"])?.exits(2).complains("has a Pod").complains("kubectl drain large");
    node.kubectl(&["drain", "large", "--force"])?.exits(0).says("node/large drained");
    node.memlet(&["node", "rm", "large"])?.exits(0).complains("node large is no more");
    node.memlet(&["node", "rm", node_of(&placed[1]), "--pods"])?.exits(0);
    node.kubectl(&["get", "pod", "b"])?.exits(1).complains("not found");
    node.memlet(&["node", "rm", node_of(&placed[0])])?.exits(2).complains("is the only node");
    node.kubectl(&["get", "nodes", "-o", "name"])?.exits(0).says(&format!("node/{}\n", node_of(&placed[0])));
    node.end()
}

fn killed() -> Result<(), Failed> {
    const POOL: [&str; 3] = ["--nodes=2", "--node-memory", "1Gi"];
    let mut node = Node::start_with(&POOL)?;
    node.memlet(&["node", "add", "more", "--memory", "1Gi"])?.exits(0);
    for pod in ["a", "b", "c"] {
        node.create(&wanting(pod, "600Mi"))?;
        node.wait_for(&format!("pod/{pod}"), is_running)?;
    }
    let before = ["pod/a", "pod/b", "pod/c"].map(|pod| node.get(pod));
    node.kill()?;
    node.memlet(&["status"])?.exits(1).says("the nodes memlet-1, memlet-2 and more do not run");
    node.start_again(&POOL)?;
    for (pod, before) in ["pod/a", "pod/b", "pod/c"].into_iter().zip(before) {
        let (now, before) = (node.get(pod)?, before?);
        assert_eq!(now["status"]["containerStatuses"], before["status"]["containerStatuses"], "{pod}");
    }
    node.kill()?;
    node.start_again(&["--nodes=1", "--node-memory", "1Gi"])?;
    node.kubectl(&["get", "nodes", "-o", "name"])?
        .exits(0)
        .says("node/memlet-1\nnode/more\n")
        .says_not("memlet-2");
    let on_former = ["pod/a", "pod/b", "pod/c"].map(|pod| node.get(pod));
    let left: Vec<_> = on_former
        .into_iter()
        .filter(|pod| pod.as_ref().is_ok_and(|pod| node_of(pod) != "memlet-2"))
        .collect();
    assert_eq!(left.len(), 2);
    let shown = node.memlet(&["ps"])?;
    shown.exits(0).says("memlet-1").says("more").says_not("memlet-2");
    node.memlet(&["stop", "--pods"])?.exits(0).complains("the nodes memlet-1 and more have ended");
    node.child.take().expect("it ran").wait()?;
    node.house.nothing_is_left()
}

fn of_a_file() -> Result<(), Failed> {
    let mut node = Node { house: crate::house::House::new()?, child: None };
    let file = node.house.write(
        "pool.yaml",
        "nodeMemory: 1Gi\nnodes:\n- {name: plain}\n- {name: special, memory: 2Gi, labels: {disk: ssd}, taints: \
         ['gpu=yes:NoSchedule']}\n",
    )?;
    node.start_again(&["--config", &file.display().to_string()])?;
    let described = node.kubectl(&["describe", "node", "special"])?;
    described
        .exits(0)
        .says("Taints:             gpu=yes:NoSchedule")
        .says("disk=ssd")
        .says("memory:             2Gi");
    node.create(&wanting("a", "1500Mi"))?;
    let waits = |pod: &Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
    let waiting = node.wait_for("pod/a", waits)?;
    let message = waiting["status"]["conditions"][0]["message"].as_str().unwrap_or_default();
    assert!(
        message.starts_with(
            "0/2 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint(s)."
        ),
        "{message}"
    );
    node.kubectl(&["taint", "node", "special", "gpu-"])?.exits(0).says("node/special untainted");
    assert_eq!(node_of(&node.wait_for("pod/a", is_running)?), "special");
    node.kubectl(&["cordon", "plain"])?.exits(0);
    let chosen =
        wanting("b", "1Mi").replace("spec:\n", "spec:\n  nodeSelector: {kubernetes.io/hostname: plain}\n");
    node.create(&chosen)?;
    node.wait_for("pod/b", waits)?;
    node.kubectl(&["uncordon", "plain"])?.exits(0);
    assert_eq!(node_of(&node.wait_for("pod/b", is_running)?), "plain");
    node.end()
}
