//! A node is started, found, stopped, killed; and what is refused.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;

use super::{Node, holder, is_running, memlet};
use crate::house::{House, finish, patience};
use crate::machine::Machine;
use crate::{Test, test, test_with};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("node: starts, says where it is, and ends without a trace", starts_and_ends),
        test("node: in the background, found and stopped", in_the_background),
        test("node: stopped with its Pods, they start anew", stopped_with_its_pods),
        test_with("node: started under another cgroup, its Pods go there", &["kubectl"], elsewhere),
        test_with("machine: the clock is set, and a node does not mind", &["kubectl"], clock_is_set)
            .only_in(Machine::Guest),
        test("node: a second one in the same folder is refused", second_start),
        test("node: a port that is taken is refused, with its holder", port_taken),
        test("node: five wrong settings", wrong_settings),
        test("node: a systemd unit", print_unit),
        test("node: only root may read its keys", private_files),
        test_with("node: Pods run on without it, and are taken up again", &["kubectl"], taken_up_again),
        test_with("node: killed, its Pods run on and their ends are told", &["kubectl"], killed),
        test_with("node: in memory, everything ends with it", &["kubectl"], in_memory),
        test_with("node: memlet run beside it is refused or goes elsewhere", &["kubectl"], run_beside),
        test_with("kubeconfig: merged into one's own", &["kubectl"], merge_kubeconfig),
    ]
}

fn starts_and_ends() -> Result<(), Failed> {
    let node = Node::start()?;
    node.memlet(&["status"])?.exits(0).says("node         memlet: ").says("Pods         0 (0 running)");
    node.end()
}

fn in_the_background() -> Result<(), Failed> {
    let house = House::new()?;
    memlet(&house, &["status"])?.exits(1).says("no node has run in");
    memlet(&house, &["stop"])?.exits(0);
    let began = Instant::now();
    finish(Node::command(&house, &["--detach"]).spawn()?)?.exits(0);
    assert!(began.elapsed() < patience(Duration::from_secs(5)), "it waits for nothing but its being ready");
    let status = memlet(&house, &["status", "-o", "json"])?;
    assert_eq!(status.exits(0).json()?["state"], "Running");
    memlet(&house, &["stop"])?.exits(0).complains("the node memlet has ended");
    assert_eq!(memlet(&house, &["status", "-o", "json"])?.exits(1).json()?["state"], "Stopped");
    house.nothing_is_left()?;

    // What goes wrong in the background is told in front.
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    finish(Node::command(&house, &["--detach", "--address", &address]).spawn()?)?
        .exits(2)
        .complains(&address);
    house.nothing_is_left()
}

fn second_start() -> Result<(), Failed> {
    let node = Node::start()?;
    let pid = node.pid().to_string();
    let second = finish(Node::command(&node.house, &[]).spawn()?)?;
    second.exits(2).complains(&format!("(process {pid})")).complains("memlet status");
    node.memlet(&["status"])?.exits(0);
    node.end()
}

fn port_taken() -> Result<(), Failed> {
    let house = House::new()?;
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let refused = finish(Node::command(&house, &["--address", &address]).spawn()?)?;
    refused.exits(2).complains(&address).complains(&format!("process {}", std::process::id()));
    house.nothing_is_left()
}

fn wrong_settings() -> Result<(), Failed> {
    let house = House::new()?;
    let file = house.write("node.yaml", "nodeMemry: 1Gi\n")?;
    let file = file.to_str().expect("temporary paths are text");
    for (arguments, complaint) in [
        (&["--node-memory", "50Mi"][..], "leaves nothing for Pods"),
        (&["--node-memory", "1GiB"], "1GiB"),
        (&["--address", "localhost"], "localhost"),
        (&["--config", file], "nodeMemry"),
        (&["--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (&["--kube-reserved", "disk=1"], "disk"),
    ] {
        finish(Node::command(&house, arguments).spawn()?)?.exits(2).complains(complaint);
    }
    house.nothing_is_left()
}

fn print_unit() -> Result<(), Failed> {
    let house = House::new()?;
    let unit = finish(Node::command(&house, &["--node-memory", "2Gi", "--print-unit"]).spawn()?)?;
    unit.exits(0).says("KillMode=process").says("--node-memory 2Gi").says_not("--print-unit");
    house.nothing_is_left()
}

fn private_files() -> Result<(), Failed> {
    let node = Node::start()?;
    let data = node.house.folder.path().join("data");
    let mut folders = vec![data];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)?.flatten() {
            let mode = entry.metadata()?.permissions().mode() & 0o777;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
                assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", entry.path().display());
            } else {
                assert_eq!(mode, 0o600, "{} has mode {mode:o}", entry.path().display());
            }
        }
    }
    node.end()
}

fn taken_up_again() -> Result<(), Failed> {
    let mut node = Node::start()?;
    node.create(&holder("a", "64Mi"))?;
    let before = node.wait_for("pod/a", is_running)?;
    let ended = node.memlet(&["stop"])?;
    ended.exits(0);
    node.child.take().expect("it ran").wait()?;
    node.memlet(&["status"])?.exits(1).says("the Pods run on");
    node.start_again(&[])?;
    let after = node.wait_for("pod/a", is_running)?;
    assert_eq!(
        before["status"]["containerStatuses"], after["status"]["containerStatuses"],
        "nothing restarts that did not die"
    );
    node.end()
}

/// As after a reboot: what is to run always runs again, and what ends once has ended.
fn stopped_with_its_pods() -> Result<(), Failed> {
    let mut node = Node::start()?;
    node.create(&holder("always", "64Mi"))?;
    node.create(&holder("once", "64Mi").replace("spec:\n", "spec:\n  restartPolicy: Never\n"))?;
    for pod in ["pod/always", "pod/once"] {
        node.wait_for(pod, is_running)?;
    }
    // From elsewhere, by another name of the folder, after the program was killed.
    node.kill()?;
    let parent = node.house.folder.path().join("data/..");
    let data = parent.join("data").display().to_string();
    let mut stop = std::process::Command::new(crate::house::MEMLET);
    stop.args(["stop", "--pods", "--data", &data]).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(stop.spawn()?)?.exits(0);
    node.start_again(&[])?;
    let has_restarted = |times: i32| {
        move |pod: &Value| {
            let container = &pod["status"]["containerStatuses"][0];
            container["state"]["running"].is_object() && container["restartCount"] == times
        }
    };
    node.wait_for("pod/always", has_restarted(1))?;
    node.wait_for("pod/once", |pod| pod["status"]["phase"] == "Failed")?;
    node.memlet(&["stop", "--pods"])?.exits(0);
    node.child.take().expect("it ran").wait()?;
    node.start_again(&[])?;
    node.wait_for("pod/always", has_restarted(2))?;
    node.end()
}

/// Two hours back and six forth: waits are as long as they would have been, and clients get in.
fn clock_is_set() -> Result<(), Failed> {
    let node = Node::start()?;
    let fails = holder("fails", "64Mi").replace("'--hold'", "'--exit', '3'");
    node.create(&fails)?;
    node.create(&holder("stays", "64Mi"))?;
    let stays = node.wait_for("pod/stays", is_running)?;
    let restarts = |times: i64| {
        move |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(times)
    };
    // The back-offs after these are of 10 and 20 seconds.
    for (times, hours) in [(1, -2), (2, 6)] {
        node.wait_for("pod/fails", restarts(times))?;
        let mut clock = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        clock.tv_sec += hours * 3600;
        rustix::time::clock_settime(rustix::time::ClockId::Realtime, clock)?;
        node.wait_for("pod/fails", restarts(times + 1))?;
    }
    let after = node.get("pod/stays")?;
    assert_eq!(after["status"]["containerStatuses"], stays["status"]["containerStatuses"]);
    node.create(&holder("new", "64Mi"))?;
    node.wait_for("pod/new", is_running)?;
    node.kubectl(&["get", "nodes"])?.exits(0).says(" Ready ");
    node.end()
}

fn killed() -> Result<(), Failed> {
    let mut node = Node::start()?;
    node.create(&holder("stays", "64Mi"))?;
    // It is killed when it has grown for two seconds.
    let grows = holder("grows", "64Mi").replace("['8', '0', '--hold']", "['300', '0.3']");
    node.create(&grows.replace("spec:\n", "spec:\n  restartPolicy: Never\n"))?;
    let before = node.wait_for("pod/stays", is_running)?;
    node.wait_for("pod/grows", is_running)?;
    node.kill()?;
    node.memlet(&["status"])?.exits(1).says("the Pods run on");
    std::thread::sleep(patience(Duration::from_secs(6)));
    node.start_again(&[])?;
    let killed = node.wait_for("pod/grows", |pod| pod["status"]["phase"] == "Failed")?;
    let end = &killed["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&end["reason"], &end["exitCode"]), (&"OOMKilled".into(), &137.into()), "{end:#}");
    let after = node.wait_for("pod/stays", is_running)?;
    assert_eq!(before["status"]["containerStatuses"], after["status"]["containerStatuses"]);
    node.memlet(&["explain", "pod/grows"])?.exits(0).says("OOMKilled");
    node.end()
}

/// Its Pods go with it.
fn elsewhere() -> Result<(), Failed> {
    let mut node = Node::start()?;
    node.create(&holder("a", "64Mi"))?;
    node.wait_for("pod/a", is_running)?;
    node.kill()?;
    let root: memlet_cgroup::CgroupPath = format!("{}-b", node.house.root).parse()?;
    // The later of two such arguments would be refused, so the house moves.
    let old = std::mem::replace(&mut node.house.root, root.clone());
    node.start_again(&[])?;
    node.wait_for("pod/a", |pod| pod["status"]["containerStatuses"][0]["restartCount"] == 1)?;
    node.wait_for("pod/a", |pod| pod["status"]["containerStatuses"][0]["state"]["running"].is_object())?;
    node.memlet(&["inspect", "a"])?.exits(0).says(&format!("{root}/kubepods"));
    for mount in memlet_cgroup::Hierarchy::detect()?.mount_points() {
        let left = mount.join(old.as_str().trim_start_matches('/'));
        assert!(!left.exists(), "{} is left", left.display());
    }
    node.end()
}

fn in_memory() -> Result<(), Failed> {
    let mut node = Node::start_with(&["--in-memory"])?;
    node.create(&holder("a", "64Mi"))?;
    node.wait_for("pod/a", is_running)?;
    node.memlet(&["stop"])?.exits(0);
    node.child.take().expect("it ran").wait()?;
    node.house.nothing_is_left()?;
    node.start_again(&["--in-memory"])?;
    node.kubectl(&["get", "pods"])?.exits(0).complains("No resources found");
    node.end()
}

/// A run never ends what a node keeps.
fn run_beside() -> Result<(), Failed> {
    let mut node = Node::start()?;
    node.create(&holder("a", "64Mi"))?;
    let before = node.wait_for("pod/a", is_running)?;
    let eater = crate::house::eater("8 0", "32Mi");
    node.house.run(&eater, &[])?.exits(2).complains("already runs Pods under the cgroup");
    node.kill()?;
    node.house.run(&eater, &[])?.exits(2).complains("memlet stop --pods");
    let elsewhere = format!("{}-b", node.house.root);
    let file = node.house.write("pod.yaml", &eater)?;
    let mut command = node.house.command_in(&elsewhere, &[file.to_str().expect("temporary paths are text")]);
    finish(command.stdin(Stdio::null()).spawn()?)?.exits(0);
    node.start_again(&[])?;
    let after = node.wait_for("pod/a", is_running)?;
    assert_eq!(before["status"]["containerStatuses"], after["status"]["containerStatuses"]);
    node.end()
}

fn merge_kubeconfig() -> Result<(), Failed> {
    let node = Node::start()?;
    let home = node.house.folder.path().join(".kube");
    std::fs::create_dir_all(&home)?;
    std::fs::write(
        home.join("config"),
        "apiVersion: v1\nkind: Config\nclusters: [{name: prod, cluster: {server: 'https://prod'}}]\ncontexts: [{name: prod, \
         context: {cluster: prod, user: me}}]\nusers: [{name: me, user: {token: x}}]\ncurrent-context: prod\n",
    )?;
    node.memlet(&["kubeconfig", "--merge"])?.exits(0).says("the context memlet");
    let own = |arguments: &[&str]| -> Result<_, Failed> {
        finish(node.kubectl_command(arguments).env_remove("KUBECONFIG").spawn()?)
    };
    own(&["config", "get-contexts", "-o", "name"])?.exits(0).says("prod").says("memlet");
    own(&["get", "nodes"])?.exits(0).says("memlet");
    node.memlet(&["kubectl", "get", "nodes"])?;
    node.end()
}
