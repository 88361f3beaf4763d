//! Writes by the real kubectl, and what it then says. `MEMLET_KUBECTL` names another than the one on the path.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use libtest_mimic::{Arguments, Trial};
use memlet_apiserver::ApiServer;

const EATER: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: eater\n  labels: {app: eater}\nspec:\n  containers:\n  - name: main\n    image: eater:1\n    resources: {limits: {memory: 64Mi}}\n";

/// A test's name and what it does.
type Case = (&'static str, fn(&Kubectl));

const CASES: [Case; 4] = [
    ("labels_patches_and_replacements", labels_patches_and_replacements),
    ("server_side_apply_and_the_way_to_it", server_side_apply_and_the_way_to_it),
    ("the_create_subcommands", the_create_subcommands),
    ("what_a_namespace_permits", what_a_namespace_permits),
];

fn main() {
    let program = std::env::var("MEMLET_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
    let missing = Command::new(&program).args(["version", "--client"]).output().is_err();
    let required = std::env::var_os("REQUIRE_KERNEL").is_some();
    let trials = CASES.into_iter().map(|(name, test)| {
        let shown = if missing { format!("{name} (needs {program})") } else { name.to_owned() };
        let program = program.clone();
        let run = move || {
            test(&Kubectl::new(&program));
            Ok(())
        };
        Trial::test(shown, run).with_ignored_flag(missing && !required)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// Serves an empty server on loopback, for as long as the process lives.
fn serve() -> String {
    let (told, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = ApiServer::in_memory();
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            told.send(format!("http://{}", listener.local_addr().unwrap())).unwrap();
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(server.service());
                let serving = Builder::new(TokioExecutor::new());
                tokio::spawn(async move {
                    serving.serve_connection_with_upgrades(TokioIo::new(connection), service).await
                });
            }
        });
    });
    address.recv().unwrap()
}

struct Kubectl {
    program: String,
    address: String,
    folder: tempfile::TempDir,
}

impl Kubectl {
    fn new(program: &str) -> Self {
        Self { program: program.to_owned(), address: serve(), folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a command line says, on both outputs. It is split at spaces.
    fn says(&self, line: &str) -> String {
        let output = Command::new(&self.program)
            .args(["-s", &self.address, "--kubeconfig=/dev/null"])
            .arg(format!("--cache-dir={}", self.folder().join("cache").display()))
            .args(line.split(' '))
            .current_dir(self.folder())
            .env("HOME", self.folder())
            .env("KUBE_EDITOR", "sed -i s/eater:7/eater:6/")
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap().trim_end().to_owned()
    }

    fn all_say(&self, lines: &[(&str, &str)]) {
        for (line, expected) in lines {
            assert_eq!(self.says(line), *expected, "kubectl {line}");
        }
    }
}

fn labels_patches_and_replacements(kubectl: &Kubectl) {
    kubectl.file("eater.yaml", EATER);
    kubectl.file("two.yaml", &EATER.replace("eater:1", "eater:2"));
    kubectl.file("big.yaml", &EATER.replace("64Mi", "96Mi"));
    kubectl.all_say(&[
        ("apply -f eater.yaml", "pod/eater created"),
        ("apply -f eater.yaml", "pod/eater unchanged"),
        ("apply -f two.yaml --dry-run=server", "pod/eater configured (server dry run)"),
        ("apply -f two.yaml", "pod/eater configured"),
        ("label pod eater x=y", "pod/eater labeled"),
        ("label pod eater x=z", "error: 'x' already has a value (y), and --overwrite is false"),
        ("label pod eater x=z --overwrite", "pod/eater labeled"),
        ("label pod eater x-", "pod/eater unlabeled"),
        ("annotate pod eater note=hello", "pod/eater annotated"),
        ("set image pod/eater main=eater:9", "pod/eater image updated"),
        (r#"patch pod eater --type=json -p [{"op":"replace","path":"/spec/containers/0/image","value":"eater:8"}]"#, "pod/eater patched"),
        (r#"patch pod eater --type=merge -p {"metadata":{"labels":{"m":"1"}}}"#, "pod/eater patched"),
        (r#"patch pod eater --type=merge -p {"metadata":{"labels":{"m":"1"}}}"#, "pod/eater patched (no change)"),
        (r#"patch pod eater -p {"spec":{"containers":[{"name":"main","image":"eater:7"}]}}"#, "pod/eater patched"),
        ("edit pod eater", "pod/eater edited"),
        ("get pod eater -o jsonpath={.spec.containers[0].image}{.metadata.labels}", r#"eater:6{"app":"eater","m":"1"}"#),
        ("patch pod eater --subresource=resize -p {}", "Error from server (NotFound): the server could not find the requested resource"),
    ]);
    let told = kubectl.says("apply -f big.yaml");
    assert!(told.starts_with("The Pod \"eater\" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"), "{told}");
    assert!(told.contains("resources.limits.memory: \"96Mi\""), "{told}");
    let diff = kubectl.says("diff -f two.yaml");
    assert!(diff.contains("-  - image: eater:6\n+  - image: eater:2"), "{diff}");
    kubectl.file("stored.yaml", &kubectl.says("get pod eater -o yaml"));
    assert_eq!(kubectl.says("replace -f stored.yaml"), "pod/eater replaced");
    assert!(kubectl.says("replace --force -f big.yaml").ends_with("pod/eater replaced"));
    let debug = kubectl.says("debug eater --image=busybox -- true");
    assert!(debug.contains("error: ephemeral containers are disabled for this cluster"), "{debug}");
}

fn server_side_apply_and_the_way_to_it(kubectl: &Kubectl) {
    kubectl.file("eater.yaml", EATER);
    kubectl.file("two.yaml", &EATER.replace("eater:1", "eater:2").replace("app: eater", "app: other"));
    kubectl.all_say(&[
        ("apply -f eater.yaml", "pod/eater created"),
        // What the client applied on its own side is taken over without a conflict.
        ("apply --server-side -f two.yaml", "pod/eater serverside-applied"),
        ("apply --server-side -f two.yaml --dry-run=server", "pod/eater serverside-applied (server dry run)"),
        ("get pod eater -o jsonpath={.spec.containers[0].image}", "eater:2"),
        ("apply -f two.yaml", "pod/eater configured"),
        ("set image pod/eater main=eater:9", "pod/eater image updated"),
    ]);
    let conflict = kubectl.says("apply --server-side -f eater.yaml");
    let told = "error: Apply failed with 1 conflict: conflict with \"kubectl-set\" using v1: .spec.containers[name=\"main\"].image\n";
    assert!(conflict.starts_with(told), "{conflict}");
    let conflict = kubectl.says("apply --server-side -f eater.yaml --field-manager=other");
    assert!(
        conflict
            .contains("conflicts with \"kubectl-set\" using v1:\n- .spec.containers[name=\"main\"].image"),
        "{conflict}"
    );
    kubectl.all_say(&[
        ("apply --server-side -f eater.yaml --force-conflicts", "pod/eater serverside-applied"),
        ("get pod eater -o jsonpath={.spec.containers[0].image}", "eater:1"),
    ]);
    let diff = kubectl.says("diff --server-side -f two.yaml");
    assert!(diff.contains("-  - image: eater:1\n+  - image: eater:2"), "{diff}");
    kubectl.file("labels.yaml", &EATER.replace("  labels: {app: eater}\n", ""));
    kubectl.says("apply --server-side -f labels.yaml");
    assert_eq!(kubectl.says("get pod eater -o jsonpath={.metadata.labels}"), "", "no longer stated, so gone");
}

/// kubectl sends these in protobuf.
fn the_create_subcommands(kubectl: &Kubectl) {
    kubectl.all_say(&[
        ("create namespace work", "namespace/work created"),
        ("create namespace work", "Error from server (AlreadyExists): namespaces \"work\" already exists"),
        ("create configmap c --from-literal=a=b --from-literal=c=d", "configmap/c created"),
        ("get configmap c -o jsonpath={.data}", r#"{"a":"b","c":"d"}"#),
        (
            "create configmap c --from-literal=a=b",
            "error: failed to create configmap: configmaps \"c\" already exists",
        ),
        ("create secret generic s --from-literal=a=b", "secret/s created"),
        ("get secret s -o jsonpath={.data}{.type}", r#"{"a":"Yg=="}Opaque"#),
        (
            "create secret docker-registry d --docker-username=u --docker-password=p --docker-server=x",
            "secret/d created",
        ),
        ("create serviceaccount robot -n work", "serviceaccount/robot created"),
        (r#"patch configmap c -p {"immutable":true}"#, "configmap/c patched"),
        (
            r#"patch configmap c -p {"data":{"a":"c"}}"#,
            "The ConfigMap \"c\" is invalid: data: Forbidden: field is immutable when `immutable` is set",
        ),
        (
            r#"patch secret s -p {"type":"x"}"#,
            "The Secret \"s\" is invalid: type: Invalid value: \"x\": field is immutable",
        ),
    ]);
}

/// Limit ranges and quotas, which kubectl also creates in protobuf.
fn what_a_namespace_permits(kubectl: &Kubectl) {
    const LIMITS: &str = "apiVersion: v1\nkind: LimitRange\nmetadata: {name: mem}\nspec:\n  limits:\n  - type: Container\n    max: {memory: 1Gi}\n    default: {memory: 512Mi}\n    defaultRequest: {memory: 256Mi}\n";
    kubectl.file("limits.yaml", LIMITS);
    kubectl.file("bare.yaml", &EATER.replace("    resources: {limits: {memory: 64Mi}}\n", ""));
    kubectl.file("second.yaml", &EATER.replace("name: eater\n", "name: second\n"));
    kubectl.file("large.yaml", &EATER.replace("64Mi", "2Gi"));
    kubectl.all_say(&[
        ("apply -f limits.yaml", "limitrange/mem created"),
        ("apply -f limits.yaml", "limitrange/mem unchanged"),
        ("create quota q --hard=memory=300Mi,pods=2,limits.memory=1Gi", "resourcequota/q created"),
        ("create quota p --hard=pods=1 --scopes=BestEffort", "resourcequota/p created"),
        ("apply -f bare.yaml", "pod/eater created"),
    ]);
    let refused = kubectl.says("apply -f second.yaml");
    assert!(
        refused.ends_with(r#"pods "second" is forbidden: exceeded quota: q, requested: memory=64Mi, used: memory=256Mi, limited: memory=300Mi"#),
        "{refused}"
    );
    let refused = kubectl.says("create -f large.yaml");
    assert!(
        refused.ends_with(
            "pods \"eater\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi"
        ),
        "{refused}"
    );
    let ranges = kubectl.says("get limits");
    assert!(ranges.starts_with("NAME   CREATED AT\nmem    2"), "{ranges}");
    let quotas = kubectl.says("get quota q");
    let row = "q      memory: 256Mi/300Mi, pods: 1/2   limits.memory: 512Mi/1Gi   ";
    assert!(
        quotas.starts_with("NAME   REQUEST                          LIMIT                      AGE\n"),
        "{quotas}"
    );
    assert!(quotas.contains(row), "{quotas}");
    assert_eq!(
        kubectl.says("describe quota q"),
        "Name:          q\nNamespace:     default\nResource       Used   Hard\n--------       ----   ----\n\
         limits.memory  512Mi  1Gi\nmemory         256Mi  300Mi\npods           1      2"
    );
    let namespace = kubectl.says("describe namespace default");
    assert!(namespace.contains("Resource Quotas\n  Name:    p\n  Scopes:  BestEffort\n"), "{namespace}");
    assert!(namespace.contains("Resource Limits\n Type"), "{namespace}");
    assert!(namespace.contains("Container  memory    -    1Gi  256Mi"), "{namespace}");
    kubectl.all_say(&[
        (r#"patch quota q -p {"spec":{"hard":{"memory":"400Mi"}}}"#, "resourcequota/q patched"),
        ("apply -f second.yaml", "pod/second created"),
    ]);
    for (line, expected) in [
        ("delete quota q", "resourcequota \"q\" deleted"),
        ("delete limits mem", "limitrange \"mem\" deleted"),
    ] {
        // Later versions say from which namespace.
        let told = kubectl.says(line);
        assert!(told.starts_with(expected), "{told}");
    }
}
