//! `kubectl exec`, `attach`, `run` and `cp`.

use std::fs;

use libtest_mimic::Failed;
use serde_json::json;

use crate::Test;
use crate::bench::Bench;
use crate::image::BUSYBOX;
use crate::terminal::Terminal;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("exec: output, input and exit codes", exec),
    ("exec: refusals", refusals),
    ("exec: names of machines", names_of_machines),
    ("describe: no such program", no_such_program),
    ("exec: a place within a volume", place_within_a_volume),
    ("exec: on a terminal", terminal),
    ("attach: output, and leaving", attach),
    ("run: on a terminal, with a limit", run),
    ("cp: there and back", copy),
];

fn exec(bench: &Bench) -> Result<(), Failed> {
    bench.create("p", "Never", &[("c", "sleep 1000")]);
    bench.wait_running("p")?;
    let ran = bench.kubectl(&["exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    ran.exits(3).prints("out\n").complains("err\ncommand terminated with exit code 3\n");
    bench.kubectl(&["exec", "p", "--", "true"]).exits(0).prints("");
    bench
        .kubectl_with(&["exec", "-i", "p", "--", "cat"], "there and back\n")
        .exits(0)
        .prints("there and back\n");
    let large = "0123456789abcde\n".repeat(1 << 16);
    let ran = bench.kubectl_with(&["exec", "-i", "p", "--", "cat"], &large).exits(0);
    assert!(ran.stdout == large, "{} of {} bytes came back", ran.stdout.len(), large.len());
    bench
        .kubectl(&["exec", "p", "--", "nothing"])
        .exits(127)
        .complains("exec: \"nothing\": executable file not found in $PATH\n");
    Ok(())
}

fn refusals(bench: &Bench) -> Result<(), Failed> {
    bench.create("two", "Never", &[("a", "sleep 1000"), ("b", "true")]);
    bench.wait_for("two", ".status.containerStatuses[1].state.terminated.reason", "Completed")?;
    bench
        .kubectl(&["exec", "two", "-c", "x", "--", "true"])
        .exits(1)
        .complains("container x is not valid for pod two");
    bench
        .kubectl(&["exec", "two", "-c", "b", "--", "true"])
        .exits(1)
        .complains("container not found (\"b\")");
    bench.kubectl(&["exec", "nobody", "--", "true"]).exits(1).complains("pods \"nobody\" not found");
    let spdy = bench
        .command(&["exec", "two", "-c", "a", "--", "true"])
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
        .output()?;
    let complaint = String::from_utf8(spdy.stderr)?;
    assert!(complaint.contains("KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true"), "{complaint}");
    assert!(complaint.contains("1.31"), "{complaint}");
    let unbound = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"u"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#;
    bench.kubectl_with(&["create", "--validate=false", "-f", "-"], unbound).exits(0);
    bench.kubectl(&["exec", "u", "--", "true"]).exits(1).complains("pod u does not have a host assigned");
    bench.kubectl(&["logs", "u"]).exits(0).prints("");
    Ok(())
}

/// A limit is not to blame where the program is missing, however its process came to its end.
fn no_such_program(bench: &Bench) -> Result<(), Failed> {
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "absent"},
        "spec": {
            "nodeName": "node", "restartPolicy": "Never",
            "containers": [{
                "name": "c", "image": BUSYBOX, "command": ["nothing"], "resources": {"limits": {"memory": "64Mi"}},
            }],
        },
    });
    bench.kubectl_with(&["create", "-f", "-"], &manifest.to_string()).exits(0);
    bench.wait_for("absent", ".status.phase", "Failed")?;
    let shown = bench.kubectl(&["describe", "pod", "absent"]).exits(0).stdout;
    for line in [
        "Reason:       StartError",
        "Message:      exec: \"nothing\": executable file not found in $PATH",
        "Started:      Thu, 01 Jan 1970 00:00:00 +0000",
        "Image ID:      sha256:",
    ] {
        assert!(shown.contains(line), "no {line:?} in {shown}");
    }
    Ok(())
}

fn names_of_machines(bench: &Bench) -> Result<(), Failed> {
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "names"},
        "spec": {
            "nodeName": "node", "restartPolicy": "Never", "dnsPolicy": "None",
            "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["foo.remote", "bar.remote"]}],
            "dnsConfig": {"nameservers": ["192.0.2.1"], "searches": ["lan"], "options": [{"name": "ndots", "value": "2"}]},
            "containers": [{"name": "c", "image": BUSYBOX, "command": ["sleep", "1000"]}],
        },
    });
    bench.kubectl_with(&["create", "-f", "-"], &manifest.to_string()).exits(0);
    bench.wait_running("names")?;
    let read =
        |files: &str| bench.kubectl(&["exec", "names", "--", "sh", "-c", &format!("cat {files}")]).exits(0);
    read("/etc/hostname /etc/resolv.conf")
        .prints("names\nsearch lan\nnameserver 192.0.2.1\noptions ndots:2\n");
    let hosts = read("/etc/hosts").stdout;
    assert!(hosts.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"), "{hosts}");
    let end = "127.0.0.1\tnames\n\n# Entries added by HostAliases.\n10.1.2.3\tfoo.remote\tbar.remote\n";
    assert!(hosts.ends_with(end), "{hosts}");
    // The Pod's own network has a loopback that answers to the Pod's name.
    let ping = bench.kubectl(&["exec", "names", "--", "busybox", "ping", "-c", "1", "names"]).exits(0);
    assert!(ping.stdout.contains("(127.0.0.1)"), "{}", ping.stdout);
    Ok(())
}

fn place_within_a_volume(bench: &Bench) -> Result<(), Failed> {
    let container = |name: &str, mount: serde_json::Value| json!({"name": name, "image": BUSYBOX, "command": ["sh", "-c", "sleep 1000; true"], "volumeMounts": [mount]});
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "places"},
        "spec": {
            "nodeName": "node", "volumes": [{"name": "v", "emptyDir": {}}], "terminationGracePeriodSeconds": 1,
            "containers": [
                container("all", json!({"name": "v", "mountPath": "/v"})),
                container("part", json!({"name": "v", "mountPath": "/m", "subPath": "deep/er"})),
            ],
        },
    });
    bench.kubectl_with(&["create", "-f", "-"], &manifest.to_string()).exits(0);
    for container in ["0", "1"] {
        bench.wait_for("places", &format!(".status.containerStatuses[{container}].ready"), "true")?;
    }
    let shell = |container: &str, script: &str| {
        bench.kubectl(&["exec", "places", "-c", container, "--", "sh", "-c", script])
    };
    shell("part", "echo hello > /m/x").exits(0);
    shell("all", "cat /v/deep/er/x").exits(0).prints("hello\n");
    let left = || -> Result<usize, Failed> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let state = bench.folder.path().join("state").display().to_string();
        Ok(mounts.lines().filter(|line| line.contains(&state)).count())
    };
    assert_eq!(left()?, 1, "the place alone");
    // It stays what it is, whatever becomes of its name; and a link in its stead leads nowhere when it starts again.
    shell("all", "mv /v/deep/er /v/old && ln -s /etc /v/deep/er").exits(0);
    shell("part", "cat /m/x").exits(0).prints("hello\n");
    shell("part", "kill -9 -1");
    let reason = ".status.containerStatuses[1].state.waiting.reason";
    bench.wait_for("places", reason, "CreateContainerConfigError")?;
    let shown = bench.kubectl(&["describe", "pod", "places"]).exits(0).stdout;
    assert!(shown.contains("deep/er leads out of the volume"), "{shown}");
    bench.kubectl(&["delete", "pod", "places"]).exits(0);
    assert_eq!(left()?, 0);
    Ok(())
}

fn terminal(bench: &Bench) -> Result<(), Failed> {
    bench.create("p", "Never", &[("c", "sleep 1000")]);
    bench.wait_running("p")?;
    let mut terminal = Terminal::start(&bench.command(&["exec", "-it", "p", "--", "sh"]))?;
    terminal.until("# ")?;
    terminal.press("stty size; tty\r")?;
    terminal.until("30 90\r\n/dev/pts/0\r\n")?;
    terminal.resize(111, 44)?;
    // kubectl hears of it by a signal and passes it on.
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.press("stty size\r")?;
    terminal.until("44 111\r\n")?;
    terminal.press("sleep 500\r")?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.press("\x03")?;
    terminal.press("echo code $?\r")?;
    terminal.until("code 130\r\n")?;
    terminal.press("exit 3\r")?;
    terminal.until("command terminated with exit code 3")?;
    assert_eq!(terminal.end()?, Some(3));
    let mut terminal = Terminal::start(&bench.command(&["exec", "-it", "p", "--", "sh"]))?;
    terminal.until("# ")?;
    terminal.press("\x04")?;
    assert_eq!(terminal.end()?, Some(0));
    Ok(())
}

fn attach(bench: &Bench) -> Result<(), Failed> {
    bench.create(
        "p",
        "Never",
        &[("c", "for n in 1 2 3 4 5 6 7 8; do echo line $n; sleep 0.5; done; exit 3")],
    );
    bench.wait_running("p")?;
    let ran = bench.kubectl(&["attach", "p"]).exits(0);
    assert!(ran.stdout.ends_with("line 7\nline 8\n"), "{ran:?}");
    bench.wait_for("p", ".status.containerStatuses[0].state.terminated.exitCode", "3")?;
    // One who leaves takes nothing along.
    bench.create("q", "Never", &[("c", "while true; do echo x; sleep 0.2; done")]);
    bench.wait_running("q")?;
    let mut child = bench.command(&["attach", "q"]).stdout(std::process::Stdio::piped()).spawn()?;
    std::thread::sleep(std::time::Duration::from_secs(1));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)?;
    child.wait()?;
    let before = bench.kubectl(&["logs", "q"]).stdout.len();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(bench.kubectl(&["logs", "q"]).stdout.len() > before, "it writes no more");
    bench.wait_running("q")
}

fn run(bench: &Bench) -> Result<(), Failed> {
    let image = format!("--image={BUSYBOX}");
    let container = json!({
        "name": "t", "image": BUSYBOX, "args": ["sh"], "stdin": true, "stdinOnce": true, "tty": true,
        "resources": {"limits": {"memory": "123Mi"}, "requests": {"memory": "100Mi"}},
    });
    let overrides = json!({"spec": {"nodeName": "node", "containers": [container]}});
    let overrides = format!("--overrides={overrides}");
    let arguments = ["run", "--rm", "-it", "--restart=Never", "t", &image, &overrides, "--", "sh"];
    let mut terminal = Terminal::start(&bench.command(&arguments))?;
    terminal.until("press")?;
    terminal.press("\r")?;
    terminal.until("# ")?;
    let limit =
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; stty size";
    terminal.press(&format!("{limit}\r"))?;
    terminal.until("128974848\r\n30 90\r\n")?;
    terminal.press("exit 5\r")?;
    terminal.until("pod \"t\" deleted")?;
    assert_eq!(terminal.end()?, Some(5));
    bench.kubectl(&["get", "pod", "t"]).exits(1).complains("not found");
    // Without a terminal, as scripts do.
    let overrides = format!("--overrides={}", json!({"spec": {"nodeName": "node"}}));
    let arguments = ["run", "--rm", "-i", "--restart=Never", "s", &image, &overrides, "--quiet", "--", "cat"];
    let ran = bench.kubectl_with(&arguments, "through\n").exits(0);
    assert!(ran.stdout.contains("through\n"), "{ran:?}");
    Ok(())
}

fn copy(bench: &Bench) -> Result<(), Failed> {
    bench.create("p", "Never", &[("c", "sleep 1000")]);
    bench.wait_running("p")?;
    let folder = bench.folder.path().join("copied");
    fs::create_dir_all(folder.join("there/deep"))?;
    let text = "0123456789\n".repeat(200_000);
    fs::write(folder.join("there/deep/file"), &text)?;
    let path = |name: &str| folder.join(name).display().to_string();
    bench.kubectl(&["cp", &path("there"), "p:/tmp/there"]).exits(0);
    bench.kubectl(&["exec", "p", "--", "ls", "/tmp/there/deep"]).exits(0).prints("file\n");
    bench.kubectl(&["cp", "p:/tmp/there/deep/file", &path("back")]).exits(0);
    assert!(fs::read_to_string(folder.join("back"))? == text, "it came back different");
    Ok(())
}
