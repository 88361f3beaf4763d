//! What the four articles type, in their order, verbatim where today's kubectl has the flag.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use libtest_mimic::Failed;

use super::{Node, ended, is_running};
use crate::house::{House, checkout, finish, patience};
use crate::{Test, test, test_with};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test_with("node: article 1, a limit and malloc", &["kubectl"], limit_and_malloc),
        test_with("node: article 1, no limit", &["kubectl"], no_limit),
        test_with("node: article 2, what a node has and what is requested of it", &["kubectl"], requested),
        test_with("node: article 2, Pending", &["kubectl"], pending),
        test_with("node: article 2, a pool of nodes that is scaled", &["kubectl"], scaled_pool),
        test_with("node: article 2, Evicted", &["kubectl"], evicted),
        test_with("node: article 2, OOMKilled at its own limit", &["kubectl"], oom_killed),
        test("node: article 2, OOMKilled at the node's limit", oom_killed_at_the_node),
        test_with("node: article 3, from a Pod to its cgroup and its scores", &["kubectl"], cgroups),
        test_with("node: article 4, a node without memory", &["kubectl"], without_memory),
    ]
}

/// An article's manifest, with a program that prints as it goes.
fn example(name: &str) -> String {
    checkout().join("examples/1-limits-and-malloc").join(name).display().to_string()
}

fn limit_and_malloc() -> Result<(), Failed> {
    let node = Node::start()?;
    node.kubectl(&["create", "-f", &example("pod-2.yaml")])?.exits(0).says("pod/memory-eater-128 created");
    node.wait_for("pod/memory-eater-128", |pod| pod["status"]["containerStatuses"][0]["started"] == true)?;
    // Followed to the container's end, which comes by the kill.
    let logs = node.kubectl(&["logs", "-f", "memory-eater-128"])?;
    logs.exits(0).says("  1000    7.8 MB");
    let pod = node.wait_for("pod/memory-eater-128", |pod| ended(pod).is_some())?;
    let end = ended(&pod).expect("it has ended");
    assert_eq!((&end["reason"], &end["exitCode"]), (&"OOMKilled".into(), &137.into()), "{end:#}");

    node.kubectl(&["describe", "memory-eater-128"])?
        .exits(1)
        .complains("the server doesn't have a resource type \"memory-eater-128\"");
    node.wait_for("pod/memory-eater-128", |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(1)
    })?;
    let described = node.kubectl(&["describe", "pod", "memory-eater-128"])?;
    described.exits(0);
    for line in [
        "Name:             memory-eater-128",
        "Namespace:        default",
        "Node:             memlet/",
        "Labels:           <none>",
        "Annotations:      <none>",
        "Status:           Running",
        "    Image:         memlet.dev/memory-eater",
        "    Port:          <none>",
        "    Last State:     Terminated",
        "      Reason:       OOMKilled",
        "      Exit Code:    137",
        "    Limits:\n      memory:  128Mi",
        "    Requests:\n      memory:     128Mi",
        "    Environment:  <none>",
        "      /var/run/secrets/kubernetes.io/serviceaccount from kube-api-access-",
        "  PodScheduled                True",
        "QoS Class:                   Burstable",
        "Node-Selectors:              <none>",
        "Tolerations:                 node.kubernetes.io/not-ready:NoExecute op=Exists for 300s",
        "                             node.kubernetes.io/unreachable:NoExecute op=Exists for 300s",
        "default-scheduler  Successfully assigned default/memory-eater-128 to memlet",
        "Container created",
        "Container started",
    ] {
        described.says(line);
    }
    // What upstream does not tell: the kill, with its summary.
    described.says("OOMKilling");
    node.kubectl(&["logs", "--previous", "memory-eater-128"])?.exits(0).says("MB");
    node.memlet(&["explain", "pod/memory-eater-128"])?
        .exits(0)
        .says("OOMKilled")
        .says("limits.memory 128Mi → 192Mi");
    node.kubectl(&["delete", "pod", "memory-eater-128", "--grace-period=1"])?.exits(0).says("deleted");
    node.memlet(&["explain", "pod/memory-eater-128"])?
        .exits(0)
        .says("is gone")
        .says("limits.memory 128Mi → 192Mi");
    node.end()
}

fn no_limit() -> Result<(), Failed> {
    let node = Node::start()?;
    node.kubectl(&["create", "-f", &example("pod-0.yaml")])?.exits(0);
    node.wait_for("pod/memory-eater", |pod| pod["status"]["containerStatuses"][0]["started"] == true)?;
    let mut follows = node.kubectl_command(&["logs", "-f", "memory-eater"]).spawn()?;
    let lines = BufReader::new(follows.stdout.take().expect("it is piped")).lines();
    // To the greatest amount, where it begins to give back.
    let mut seen = false;
    for line in lines {
        if line?.contains(" 38000  296.9 MB") {
            seen = true;
            break;
        }
    }
    follows.kill()?;
    follows.wait()?;
    assert!(seen, "the program never had what it asked for");
    node.kubectl(&["delete", "pod", "memory-eater", "--now"])?.exits(0);
    node.end()
}

fn requested() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory", "1Gi", "--kube-reserved", "memory=100Mi"])?;
    node.create(&super::holder("a", "206Mi"))?;
    node.wait_for("pod/a", is_running)?;
    let described = node.kubectl(&["describe", "node", "memlet"])?;
    // 1Gi less 100Mi set aside and 100Mi kept free by eviction; 206 of 824 is a quarter.
    described
        .exits(0)
        .says("  memory:             1Gi")
        .says("  memory:             824Mi")
        .says("MemoryPressure   False")
        .says("KubeletHasSufficientMemory")
        .says("  default                     a       0 (0%)        0 (0%)      206Mi (25%)      206Mi (25%)")
        .says("  memory             206Mi (25%)  206Mi (25%)");
    node.end()
}

fn pending() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory", "1Gi"])?;
    node.create(&super::holder("greedy", "1000Gi"))?;
    let pod =
        node.wait_for("pod/greedy", |pod| pod["status"]["conditions"][0]["reason"] == "Unschedulable")?;
    assert_eq!(pod["status"]["phase"], "Pending");
    node.kubectl(&["get", "pod", "greedy"])?.exits(0).says("0/1     Pending");
    let described = node.kubectl(&["describe", "pod", "greedy"])?;
    described.exits(0).says("FailedScheduling").says("0/1 nodes are available: 1 Insufficient memory.");
    node.memlet(&["explain", "pod/greedy"])?
        .exits(0)
        .says("Pending")
        .says("Insufficient memory")
        .says("add a node of at least 1024100Mi");
    node.kubectl(&["delete", "pod", "greedy"])?.exits(0);
    node.end()
}

/// A manifest of article 2's.
fn file(name: &str) -> String {
    checkout().join("examples/2-pending-evicted-oomkilled").join(name).display().to_string()
}

/// The example, as its README has it.
fn scaled_pool() -> Result<(), Failed> {
    let node = Node::start_with(&["--config", &file("pool.yaml")])?;
    node.kubectl(&["create", "-f", &file("tenants.yaml")])?.exits(0);
    for tenant in ["pod/tenant-1", "pod/tenant-2", "pod/tenant-3"] {
        node.wait_for(tenant, is_running)?;
    }
    node.kubectl(&["create", "-f", &file("pending.yaml")])?.exits(0);
    let waits = |pod: &serde_json::Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
    node.wait_for("pod/pending", waits)?;
    node.kubectl(&["describe", "pod", "pending"])?.exits(0).says(
        "0/3 nodes are available: 3 Insufficient memory. no new claims to deallocate, preemption: 0/3 nodes are available: 3 No \
         preemption victims found for incoming pod.",
    );
    node.kubectl(&["describe", "node", "small-1"])?.exits(0).says("memory             600Mi (64%)");
    let told = node.memlet(&["explain", "pod/pending"])?;
    told.exits(0)
        .says("small-1   memory     512Mi    924Mi         600Mi       324Mi   188Mi")
        .says("lower requests.memory of main from 512Mi to 324Mi")
        .says("memlet node add NAME --memory 612Mi");
    let told = node.memlet(&["explain", "pod/pending", "-o", "json"])?.json()?;
    let row = &told["pending"]["nodes"][0]["resources"];
    let memory = row.as_array().into_iter().flatten().find(|row| row["resource"] == "memory");
    assert_eq!(memory.expect("it is there")["missing"], 188 << 20);
    // The numbers that it names are the right ones.
    node.kubectl(&["create", "-f", &file("small-enough.yaml")])?.exits(0);
    node.wait_for("pod/small-enough", is_running)?;
    node.memlet(&["node", "add", "large", "--memory", "612Mi"])?.exits(0);
    assert_eq!(node.wait_for("pod/pending", is_running)?["spec"]["nodeName"], "large");
    node.kubectl(&["create", "-f", &file("important.yaml")])?.exits(0);
    node.wait_for("pod/important", is_running)?;
    let left = node.kubectl(&["get", "pods", "-o", "name"])?;
    left.exits(0).says("pod/important");
    assert_eq!(left.stdout.lines().count(), 5, "one of the others had to go: {}", left.stdout);
    node.kubectl(&["get", "events"])?.exits(0).says("Preempted");
    node.end()
}

/// As the README has it: whose usage is above its request goes, and its neighbour stays; the request is raised, and there is
/// another node for it.
fn evicted() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory", "1Gi"])?;
    node.kubectl(&["create", "-f", &file("neighbour.yaml")])?.exits(0);
    let neighbour = node.wait_for("pod/neighbour", is_running)?;
    node.kubectl(&["create", "-f", &file("evicted.yaml")])?.exits(0);
    node.evicted("evicted")?;
    node.kubectl(&["get", "pods"])?
        .exits(0)
        .says("evicted     0/1     Error ")
        .says("neighbour   1/1     Running ");
    node.kubectl(&["describe", "pod", "evicted"])?
        .exits(0)
        .says("Status:           Failed\nReason:           Evicted\n")
        .says(
            "Message:          The node was low on resource: memory. Threshold quantity: 100Mi, available: ",
        )
        .says(", request is 100Mi, has larger consumption of memory. \n")
        .says("      Reason:       Error\n      Exit Code:    1")
        .says("  DisruptionTarget            True")
        .says("  Warning  Evicted    ");
    node.pressure_is("memlet", "True")?;
    node.kubectl(&["describe", "node", "memlet"])?
        .exits(0)
        .says("  MemoryPressure   True ")
        .says("   KubeletHasInsufficientMemory   kubelet has insufficient memory available\n");
    node.event("Node", "memlet", "EvictionThresholdMet")?;
    node.eviction_of("evicted")?;
    let told = node.memlet(&["explain", "pod/evicted"])?;
    told.exits(0)
        .says("Evicted: node memlet was low on memory")
        .says("  change   requests.memory of main 100Mi → ");

    // The way out: a request that is what it uses, for which there must be a node.
    node.kubectl(&["create", "-f", &file("request-raised.yaml")])?.exits(0);
    let waits = |pod: &serde_json::Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
    node.wait_for("pod/request-raised", waits)?;
    node.memlet(&["node", "add", "large", "--memory", "1Gi"])?.exits(0);
    let raised = node.wait_for("pod/request-raised", is_running)?;
    assert_eq!(raised["spec"]["nodeName"], "large");
    // It has grown to all that it wants, and nobody went for that.
    let logs = node.kubectl_command(&["logs", "-f", "request-raised"]).spawn();
    let mut logs = logs?;
    let lines = BufReader::new(logs.stdout.take().expect("it is piped")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains(" 89000  695.3 MB")), "it did not grow");
    logs.kill()?;
    logs.wait()?;
    std::thread::sleep(Duration::from_secs(1));
    assert!(is_running(&node.get("pod/request-raised")?));
    let after = node.get("pod/neighbour")?;
    assert_eq!(neighbour["status"]["containerStatuses"], after["status"]["containerStatuses"], "it ran on");
    assert_eq!(node.evictions()?.len(), 1);
    node.kernel_killed_nobody();
    node.end()
}

fn oom_killed() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory", "1Gi"])?;
    node.kubectl(&["create", "-f", &file("oomkilled.yaml")])?.exits(0);
    let restarted =
        |pod: &serde_json::Value| pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(1);
    node.wait_for("pod/oomkilled", restarted)?;
    let described = node.kubectl(&["describe", "pod", "oomkilled"])?;
    described.exits(0).says("    Last State:     Terminated\n      Reason:       OOMKilled\n");
    described.says("      Exit Code:    137\n").says("    Limits:\n      memory:  128Mi\n");
    node.memlet(&["explain", "pod/oomkilled"])?.exits(0).says("limits.memory 128Mi → 192Mi");
    node.kubectl(&["create", "-f", &file("limit-raised.yaml")])?.exits(0);
    let raised = node.wait_for("pod/limit-raised", is_running)?;
    std::thread::sleep(Duration::from_secs(3));
    let after = node.get("pod/limit-raised")?;
    assert_eq!(raised["status"]["containerStatuses"], after["status"]["containerStatuses"], "it lives");
    node.end()
}

fn oom_killed_at_the_node() -> Result<(), Failed> {
    let house = House::new()?;
    let run = |arguments: &[&str]| -> Result<_, Failed> {
        let file = file("node-level.yaml");
        let arguments = [&["--node-memory", "256Mi"], arguments, &[file.as_str()]].concat();
        finish(house.command(&arguments).spawn()?)
    };
    let killed = run(&["--eviction-hard", "memory.available<0%"])?;
    killed.exits(137).says("main: OOMKilled").says("limit    the node's, for all Pods together");
    // The same with eviction, which is in time.
    run(&[])?.exits(137).says("-- pod node-level was evicted: ").says_not("OOMKilled");
    house.nothing_is_left()
}

/// `kubectl get pods sh -o yaml | grep uid`, the Pod's cgroup and its limit, `crictl ps`, `crictl inspect`, `/proc`.
fn cgroups() -> Result<(), Failed> {
    let node = Node::start()?;
    node.create(&super::holder("sh", "123Mi"))?;
    node.wait_for("pod/sh", is_running)?;
    let yaml = node.kubectl(&["get", "pods", "sh", "-o", "yaml"])?;
    yaml.exits(0);
    let uid =
        yaml.stdout.lines().find_map(|line| line.strip_prefix("  uid: ")).expect("it has one").to_owned();

    let table = node.memlet(&["ps"])?;
    table.exits(0).says("sh").says("Running").says("123Mi");
    let listed = node.memlet(&["ps", "-o", "json"])?.json()?;
    let view = &listed["pods"][0];
    assert_eq!(view["uid"], uid.as_str());
    let container = &view["containers"][0];
    for cgroup in [&view["cgroup"], &container["cgroup"]] {
        let files = &cgroup["files"];
        let limit =
            [&files["memory.limit_in_bytes"], &files["memory.max"]].into_iter().find(|it| it.is_string());
        assert_eq!(limit, Some(&"128974848".into()), "{files:#}");
    }
    let id = container["id"].as_str().expect("it has one");
    let inspected = node.memlet(&["inspect", &id[..13]])?;
    inspected.exits(0).says("128974848 (123Mi)").says(&uid);
    let pid = container["processes"][0]["pid"].as_i64().expect("it runs");
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    assert!(groups.contains(id) && groups.contains(&uid), "{groups}");
    let read = |file: &str| -> Result<String, Failed> {
        Ok(std::fs::read_to_string(format!("/proc/{pid}/{file}"))?.trim().to_owned())
    };
    assert_eq!(read("oom_score_adj")?, container["processes"][0]["oomScoreAdj"].to_string());
    assert!(read("oom_score")?.parse::<i64>()? > 0);

    // A process that goes for good is told as such.
    let mut watch = node.kubectl_command(&["get", "pod", "sh", "-w"]).spawn()?;
    std::thread::sleep(patience(Duration::from_millis(500)));
    node.kubectl(&["delete", "pod", "sh", "--now"])?.exits(0);
    watch.kill()?;
    let watched = finish(watch)?;
    watched.says("sh     1/1     Running").says("Terminating");
    node.end()
}

/// The example, as its README has it.
fn without_memory() -> Result<(), Failed> {
    let file = |name: &str| checkout().join("examples/4-pod-and-oom-killer").join(name).display().to_string();
    let node = Node::start_with(&["--node-memory", "512Mi", "--eviction-hard", "memory.available<0%"])?;
    node.kubectl(&["create", "-f", &file("qos.yaml")])?.exits(0);
    for pod in ["pod/guaranteed", "pod/burstable", "pod/besteffort"] {
        node.wait_for(pod, is_running)?;
    }
    for (pod, scores) in [("guaranteed", vec![-997, 0]), ("burstable", vec![750]), ("besteffort", vec![1000])]
    {
        let listed = node.memlet(&["ps", "-o", "json"])?.json()?;
        let pods = listed["pods"].as_array().ok_or("no Pods")?;
        let found = pods.iter().find(|view| view["name"] == pod).ok_or("no such Pod")?;
        let process = &found["containers"][0]["processes"][0];
        assert!(scores.iter().any(|score| process["oomScoreAdj"] == *score), "{pod}: {process:#}");
    }
    node.kubectl(&["create", "-f", &file("grower.yaml")])?.exits(0);
    for pod in ["pod/besteffort", "pod/burstable"] {
        let pod = node.wait_for(pod, |pod| pod["status"]["phase"] == "Failed")?;
        assert_eq!(ended(&pod).expect("it has ended")["reason"], "OOMKilled", "{pod:#}");
    }
    for pod in ["pod/guaranteed", "pod/grower"] {
        assert!(is_running(&node.get(pod)?), "{pod} has ended");
    }
    node.memlet(&["explain", "pod/besteffort", "-o", "json"])?
        .exits(0)
        .says("the node's, for all Pods together")
        .says("No other Pod held more above its request");
    let kubepods = format!("{}/kubepods", node.house.root);
    let events = node.kubectl(&["get", "events"])?;
    events
        .exits(0)
        .says("Pod default/besteffort, main: kernel killed")
        .says(&format!("limit of cgroup {kubepods}"));
    node.memlet(&["explain", "--kernel", "-o", "json"])?.exits(0).says(&format!("\"{kubepods}\""));
    node.end()
}
