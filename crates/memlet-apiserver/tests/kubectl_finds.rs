//! The server as kubectl finds it: every version of it that this machine has, over plain HTTP on loopback.
//!
//! A machine without kubectl says so and counts as skipped. Other versions than the one on the path are found through
//! `MEMLET_TEST_KUBECTLS`, paths separated by colons.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use libtest_mimic::{Arguments, Failed, Trial};
use memlet_apiserver::ApiServer;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: eater}
spec:
  containers: [{name: main, image: "eater:1", resources: {limits: {memory: 64Mi}}}]
"#;

/// One server of its own for each test.
struct Server {
    address: String,
    /// Kubectl's caches.
    home: tempfile::TempDir,
    kubectl: PathBuf,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start(kubectl: &Path) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move {
            let server = ApiServer::in_memory();
            while let Ok((connection, _)) = listener.accept().await {
                let service = TowerToHyperService::new(server.service());
                tokio::spawn(async move {
                    let connection = TokioIo::new(connection);
                    let _ = Builder::new(TokioExecutor::new()).serve_connection(connection, service).await;
                });
            }
        });
        let home = tempfile::tempdir().unwrap();
        Self { address, home, kubectl: kubectl.to_owned(), _runtime: runtime }
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(&self.kubectl)
            .args(["--server", &self.address])
            .args(arguments)
            .env("HOME", self.home.path())
            .env_remove("KUBECONFIG")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// What kubectl prints where it succeeds.
    fn kubectl(&self, arguments: &[&str]) -> Result<String, Failed> {
        self.kubectl_with(arguments, "")
    }

    fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String, Failed> {
        let output = self.run(arguments, input);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(format!("kubectl {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr)).into())
    }

    /// What kubectl complains of where it fails.
    fn refused(&self, arguments: &[&str], input: &str) -> Result<String, Failed> {
        let output = self.run(arguments, input);
        if output.status.success() {
            return Err(format!("kubectl {arguments:?} was not refused").into());
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The words of each line.
fn lines(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

fn expect(condition: bool, what: &str, text: &str) -> Result<(), Failed> {
    if condition { Ok(()) } else { Err(format!("{what}, but:\n{text}").into()) }
}

fn discovery(server: &Server) -> Result<(), Failed> {
    // Twice: the second time kubectl asks whether what it keeps is still the same.
    for _ in 0..2 {
        let resources = server.kubectl(&["api-resources", "--no-headers"])?;
        for expected in [
            vec!["configmaps", "cm", "v1", "true", "ConfigMap"],
            vec!["limitranges", "limits", "v1", "true", "LimitRange"],
            vec!["pods", "po", "v1", "true", "Pod"],
            vec!["resourcequotas", "quota", "v1", "true", "ResourceQuota"],
            vec!["namespaces", "ns", "v1", "false", "Namespace"],
            vec!["events", "ev", "events.k8s.io/v1", "true", "Event"],
            vec!["priorityclasses", "pc", "scheduling.k8s.io/v1", "false", "PriorityClass"],
            vec!["leases", "coordination.k8s.io/v1", "true", "Lease"],
            vec!["nodes", "metrics.k8s.io/v1beta1", "false", "NodeMetrics"],
        ] {
            expect(lines(&resources).contains(&expected), &format!("{expected:?} is served"), &resources)?;
        }
        let versions = server.kubectl(&["api-versions"])?;
        for expected in ["v1", "events.k8s.io/v1", "scheduling.k8s.io/v1", "metrics.k8s.io/v1beta1"] {
            expect(versions.lines().any(|line| line == expected), expected, &versions)?;
        }
        let categories = server.kubectl(&["api-resources", "--categories=all", "-o", "name"])?;
        expect(categories.trim() == "pods", "pods are all", &categories)?;
    }
    let version = server.kubectl(&["version"])?;
    expect(version.contains("v1.37.0+memlet"), "the version is told", &version)
}

fn explained(server: &Server) -> Result<(), Failed> {
    let resources = server.kubectl(&["explain", "pod.spec.containers.resources"])?;
    expect(resources.contains("<ResourceRequirements>"), "the type is told", &resources)?;
    expect(resources.contains("map[string]Quantity"), "limits are quantities", &resources)?;
    let recursive = server.kubectl(&["explain", "pod.spec.containers", "--recursive"])?;
    for field in ["terminationMessagePath", "secretKeyRef", "limits\t<map[string]Quantity>"] {
        expect(recursive.contains(field), field, &recursive)?;
    }
    for kind in ["lease.spec", "priorityclass", "node.status", "secret"] {
        server.kubectl(&["explain", kind])?;
    }
    let events = server.kubectl(&["explain", "events", "--api-version=events.k8s.io/v1"])?;
    expect(events.contains("deprecatedCount"), "events of their own group", &events)?;
    // The older document, which kubectl reads as protobuf.
    let older = server.kubectl(&["explain", "pod.spec", "--output=plaintext-openapiv2"])?;
    expect(older.contains("containers\t<[]Object> -required-"), "containers are required", &older)
}

fn manifests_are_checked(server: &Server) -> Result<(), Failed> {
    let misspelt = POD.replace("image:", "immage:");
    for verb in ["create", "apply"] {
        let refused = server.refused(&[verb, "--validate=strict", "-f", "-"], &misspelt)?;
        expect(
            refused.contains(r#"unknown field "spec.containers[0].immage""#),
            "the field is named",
            &refused,
        )?;
    }
    let created = server.kubectl_with(&["apply", "-f", "-"], POD)?;
    expect(created == "pod/eater created\n", "it is created", &created)?;
    let same = server.kubectl_with(&["apply", "-f", "-"], POD)?;
    expect(same == "pod/eater unchanged\n", "it is unchanged", &same)?;
    let labelled = POD.replace("name: eater", "name: eater, labels: {a: b}");
    let changed = server.kubectl_with(&["apply", "-f", "-"], &labelled)?;
    expect(changed == "pod/eater configured\n", "it is changed", &changed)
}

fn shown(server: &Server) -> Result<(), Failed> {
    server.kubectl_with(&["create", "-f", "-"], POD)?;
    let pods = server.kubectl(&["get", "pods", "-o", "wide"])?;
    let shown = lines(&pods);
    let header = "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES";
    expect(shown[0].join(" ") == header, "the columns are told", &pods)?;
    let row: Vec<&str> = [&shown[1][..4], &shown[1][5..]].concat();
    expect(
        row == ["eater", "0/1", "Pending", "0", "<none>", "<none>", "<none>", "<none>"],
        "the row is told",
        &pods,
    )?;
    let all = server.kubectl(&["get", "all"])?;
    expect(all.contains("eater"), "all shows Pods", &all)?;
    let classes = server.kubectl(&["get", "priorityclasses"])?;
    expect(
        lines(&classes)[0] == ["NAME", "VALUE", "GLOBAL-DEFAULT", "AGE", "PREEMPTIONPOLICY"],
        "columns",
        &classes,
    )?;
    expect(classes.contains("system-node-critical      2000001000   false"), "system classes", &classes)?;
    for kind in ["namespaces", "configmaps", "secrets", "serviceaccounts", "leases", "events", "nodes"] {
        server.kubectl(&["get", kind, "--all-namespaces"])?;
    }
    let unknown = server.refused(&["get", "deployments"], "")?;
    expect(unknown.contains("the server doesn't have a resource type"), "others are not served", &unknown)?;
    let missing = server.refused(&["get", "priorityclass", "x"], "")?;
    let told = r#"Error from server (NotFound): priorityclasses.scheduling.k8s.io "x" not found"#;
    expect(missing.trim() == told, told, &missing)?;
    let names = server.kubectl(&["get", "pods", "-o", "name", "--show-managed-fields"])?;
    expect(names == "pod/eater\n", "names", &names)
}

fn events_of_both_groups(server: &Server) -> Result<(), Failed> {
    let event = r#"
apiVersion: events.k8s.io/v1
kind: Event
metadata: {name: eater.1, namespace: default}
eventTime: "2026-03-01T10:00:00.000000Z"
reportingController: memlet.dev/test
reportingInstance: test-1
action: Testing
reason: Tested
type: Normal
note: it was tested
regarding: {kind: Pod, namespace: default, name: eater}
"#;
    server.kubectl_with(&["create", "-f", "-"], event)?;
    let core = server.kubectl(&[
        "get",
        "events",
        "-o",
        "jsonpath={.items[0].message}/{.items[0].involvedObject.name}",
    ])?;
    expect(core == "it was tested/eater", "core tells it in its words", &core)?;
    let path = "jsonpath={.items[0].note}/{.items[0].regarding.name}/{.items[0].apiVersion}";
    let own = server.kubectl(&["get", "events.v1.events.k8s.io", "-o", path])?;
    expect(own == "it was tested/eater/events.k8s.io/v1", "its own group in others", &own)?;
    let selected = server.kubectl(&[
        "get",
        "events.v1.events.k8s.io",
        "--field-selector=regarding.name=eater",
        "-o",
        "name",
    ])?;
    expect(selected == "event.events.k8s.io/eater.1\n", "selected", &selected)?;
    let table = server.kubectl(&["get", "events"])?;
    expect(
        lines(&table)[1][1..] == ["Normal", "Tested", "pod/eater", "it", "was", "tested"],
        "the row is told",
        &table,
    )?;
    // A change through one group is seen through the other.
    server.kubectl(&[
        "patch",
        "events.v1.events.k8s.io",
        "eater.1",
        "--type=merge",
        "-p",
        r#"{"note":"anew"}"#,
    ])?;
    let core = server.kubectl(&["get", "events", "eater.1", "-o", "jsonpath={.message}"])?;
    expect(core == "anew", "the change is seen", &core)?;
    let refused = server
        .refused(&["create", "-f", "-"], &event.replace("action: Testing", "").replace("eater.1", "b"))?;
    expect(refused.contains("action: Required value"), "an action is asked for", &refused)
}

fn watched(server: &Server) -> Result<(), Failed> {
    server.kubectl_with(&["create", "-f", "-"], POD)?;
    let watched = server.kubectl(&["get", "pods", "--watch", "--request-timeout=1s"]);
    let text = match watched {
        Ok(text) => text,
        Err(failed) => format!("{:?}", failed.message()),
    };
    expect(text.contains("eater"), "the Pod is shown", &text)
}

type Check = fn(&Server) -> Result<(), Failed>;

const CHECKS: &[(&str, Check)] = &[
    ("discovery", discovery),
    ("explain", explained),
    ("manifests_are_checked", manifests_are_checked),
    ("get", shown),
    ("events_of_both_groups", events_of_both_groups),
    ("watch", watched),
];

/// All that can be run here, with their names.
fn kubectls() -> Vec<(String, PathBuf)> {
    let stated = std::env::var("MEMLET_TEST_KUBECTLS").unwrap_or_default();
    let stated = stated.split(':').filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.exists());
    stated
        .chain(on_path)
        .filter_map(|file| {
            let output = Command::new(&file).args(["version", "--client", "-o", "json"]).output().ok()?;
            let version: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
            Some((version["clientVersion"]["gitVersion"].as_str()?.to_owned(), file))
        })
        .collect()
}

/// One after another: each starts programs, and the machine may be small.
static ONE: Mutex<()> = Mutex::new(());

fn main() {
    let required = std::env::var_os("REQUIRE_KERNEL").is_some();
    let arguments = Arguments::from_args();
    let found = kubectls();
    let mut trials = Vec::new();
    for (name, check) in CHECKS.iter().copied() {
        if found.is_empty() {
            trials.push(
                Trial::test(format!("{name} (no kubectl on this machine)"), || {
                    Err(Failed::from("it is needed"))
                })
                .with_ignored_flag(!required),
            );
        }
        for (version, file) in found.clone() {
            trials.push(Trial::test(format!("{name} {version}"), move || {
                let _turn = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                check(&Server::start(&file))
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
