//! The server on a socket before clients that people have: kubectl, curl, openssl. Where one is not installed, its tests
//! say so and are skipped. `MEMLET_KUBECTL` names another kubectl than the first in the path.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "support/served.rs"]
mod served;

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Trial};
use memlet_apiserver::keys::{Keys, ServerNames, to_yaml};
use memlet_apiserver::serving::Limits;
use memlet_apiserver::{ApiServer, PodTokens};
use served::{Served, serve};
use tokio::runtime::Runtime;

/// A test, the program that it needs, and what it does.
type Case = (&'static str, &'static str, fn(&Tools));

fn main() {
    let kubectl = std::env::var("MEMLET_KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
    let required = std::env::var_os("REQUIRE_KERNEL").is_some();
    let tests: [Case; 8] = [
        ("the_administrator_gets_lists", "kubectl", the_administrator_gets_lists),
        ("who_am_i_and_what_may_i", "kubectl", who_am_i_and_what_may_i),
        ("acting_as_somebody_else", "kubectl", acting_as_somebody_else),
        ("tokens_are_made_and_believed", "kubectl", tokens_are_made_and_believed),
        ("nobody_is_told_to_log_in", "kubectl", nobody_is_told_to_log_in),
        ("another_authority_is_not_trusted", "kubectl", another_authority_is_not_trusted),
        ("curl_speaks_both_versions_of_http", "curl", curl_speaks_both_versions_of_http),
        ("openssl_finds_a_sound_server", "openssl", openssl_finds_a_sound_server),
    ];
    let trials = tests.into_iter().map(|(name, needs, test)| {
        let program = if needs == "kubectl" { kubectl.as_str() } else { needs };
        let missing = Command::new(program).arg("version").output().is_err();
        let kubectl = kubectl.clone();
        let run = move || {
            test(&Tools::new(&kubectl));
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(missing && !required)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// A server, and what is needed to speak to it from other programs.
struct Tools {
    kubectl: String,
    served: Served,
    kubeconfig: PathBuf,
    _runtime: Runtime,
}

impl Tools {
    fn new(kubectl: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let served = {
            let _within = runtime.enter();
            serve(ApiServer::in_memory(), Limits::default())
        };
        served.server.keep_accounts(&served.keys, PodTokens::Mounted).unwrap();
        let kubeconfig = served.folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, to_yaml(&served.keys.kubeconfig(&served.url()))).unwrap();
        for (name, text) in [
            ("ca.crt", served.keys.authority_pem()),
            ("admin.crt", served.keys.admin().certificate_pem()),
            ("admin.key", served.keys.admin().key_pem()),
        ] {
            std::fs::write(served.folder.path().join(name), text).unwrap();
        }
        Self { kubectl: kubectl.to_owned(), served, kubeconfig, _runtime: runtime }
    }

    fn path(&self, name: &str) -> String {
        self.served.folder.path().join(name).display().to_string()
    }

    /// What kubectl printed, its errors after its answers.
    fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl_with(&self.kubeconfig, arguments)
    }

    fn kubectl_with(&self, kubeconfig: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.kubectl);
        // A cache of its own: what another server told would mislead it.
        command.env("KUBECACHEDIR", self.served.folder.path().join("cache"));
        command.arg("--kubeconfig").arg(kubeconfig).args(arguments);
        printed(&mut command)
    }

    fn curl(&self, arguments: &[&str]) -> String {
        printed(Command::new("curl").args(["-s", "--cacert", &self.path("ca.crt")]).args(arguments))
    }
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    [output.stdout, output.stderr].iter().map(|text| String::from_utf8_lossy(text)).collect()
}

#[track_caller]
fn holds(printed: &str, expected: &[&str]) {
    for text in expected {
        assert!(printed.contains(text), "{text:?} is missing in:\n{printed}");
    }
}

fn the_administrator_gets_lists(tools: &Tools) {
    holds(&tools.kubectl(&["get", "namespaces"]), &["NAME", "kube-node-lease", "Active"]);
    holds(&tools.kubectl(&["get", "serviceaccounts", "-A"]), &["kube-public", "default"]);
    let map = tools.kubectl(&["get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}"]);
    assert_eq!(map, tools.served.keys.authority_pem());
    holds(&tools.kubectl(&["version"]), &["Server Version: v1.37.0+memlet"]);
    holds(&tools.kubectl(&["config", "current-context"]), &["memlet"]);
}

fn who_am_i_and_what_may_i(tools: &Tools) {
    let told = tools.kubectl(&["auth", "whoami"]);
    holds(&told, &["kubernetes-admin", "[system:masters system:authenticated]"]);
    // What it warns of comes after its answer here: a node is in no namespace.
    assert_eq!(tools.kubectl(&["auth", "can-i", "delete", "nodes"]).lines().next(), Some("yes"));
    let all = tools.kubectl(&["auth", "can-i", "--list"]);
    holds(&all, &["*.*", "[*]", "selfsubjectreviews.authentication.k8s.io", "[/healthz]"]);
}

fn acting_as_somebody_else(tools: &Tools) {
    let refused = r#"Error from server (Forbidden): pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#;
    assert_eq!(tools.kubectl(&["--as=jane", "get", "pods"]).trim_end(), refused);
    assert_eq!(tools.kubectl(&["--as=jane", "auth", "can-i", "list", "pods"]).trim_end(), "no");
    let account = "--as=system:serviceaccount:default:default";
    assert_eq!(tools.kubectl(&[account, "auth", "can-i", "list", "pods"]).trim_end(), "yes");
    assert_eq!(tools.kubectl(&[account, "auth", "can-i", "get", "secrets"]).trim_end(), "no");
    holds(&tools.kubectl(&[account, "get", "pods"]), &["No resources found in default namespace."]);
    let groups = tools.kubectl(&["--as=jane", "--as-group=dev", "auth", "whoami"]);
    holds(&groups, &["jane", "[dev system:authenticated]"]);
}

fn tokens_are_made_and_believed(tools: &Tools) {
    let token = tools.kubectl(&["create", "token", "default"]);
    assert_eq!(token.trim_end().split('.').count(), 3, "{token}");
    let config = tools.served.folder.path().join("account");
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: k, user: u}}}}], \
         clusters: [{{name: k, cluster: {{server: '{}', certificate-authority: '{}'}}}}], \
         users: [{{name: u, user: {{token: {}}}}}]}}",
        tools.served.url(),
        tools.path("ca.crt"),
        token.trim_end(),
    );
    std::fs::write(&config, text).unwrap();
    let told = tools.kubectl_with(&config, &["auth", "whoami"]);
    holds(&told, &["system:serviceaccount:default:default", "credential-id", "JTI="]);
    holds(&tools.kubectl_with(&config, &["get", "configmaps"]), &["kube-root-ca.crt"]);
    let refused = r#"Error from server (Forbidden): secrets is forbidden: User "system:serviceaccount:default:default" cannot list resource "secrets" in API group "" in the namespace "default""#;
    assert_eq!(tools.kubectl_with(&config, &["get", "secrets"]).trim_end(), refused);
    let short = tools.kubectl(&["create", "token", "default", "--duration=5m"]);
    holds(&short, &["may not specify a duration less than 10 minutes"]);
    holds(
        &tools.kubectl(&["create", "token", "none"]),
        &[r#"error: failed to create token: serviceaccounts "none" not found"#],
    );
    let bound = ["create", "token", "default", "--bound-object-kind=Pod", "--bound-object-name=none"];
    holds(&tools.kubectl(&bound), &[r#"pods "none" not found"#]);
}

fn nobody_is_told_to_log_in(tools: &Tools) {
    let expected = "error: You must be logged in to the server (Unauthorized)";
    let other = Keys::in_memory(&ServerNames::default()).unwrap();
    let mut stranger = other.kubeconfig(&tools.served.url());
    stranger.clusters = tools.served.keys.kubeconfig(&tools.served.url()).clusters;
    let config = tools.served.folder.path().join("stranger");
    std::fs::write(&config, to_yaml(&stranger)).unwrap();
    holds(&tools.kubectl_with(&config, &["get", "--raw", "/api/v1/nodes"]), &[expected]);

    stranger.auth_infos[0].auth_info = serde_json::from_str(r#"{"token": "nonsense"}"#).unwrap();
    std::fs::write(&config, to_yaml(&stranger)).unwrap();
    holds(&tools.kubectl_with(&config, &["get", "--raw", "/api/v1/nodes"]), &[expected]);
}

fn another_authority_is_not_trusted(tools: &Tools) {
    let other = Keys::in_memory(&ServerNames::default()).unwrap();
    let mut mixed = tools.served.keys.kubeconfig(&tools.served.url());
    mixed.clusters = other.kubeconfig(&tools.served.url()).clusters;
    let config = tools.served.folder.path().join("mixed");
    std::fs::write(&config, to_yaml(&mixed)).unwrap();
    let told = tools.kubectl_with(&config, &["get", "--raw", "/api/v1/nodes"]);
    holds(&told, &["certificate signed by unknown authority"]);
}

fn curl_speaks_both_versions_of_http(tools: &Tools) {
    let url = tools.served.url();
    for (version, told) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let health = tools.curl(&[version, "-w", " %{http_version} %{http_code}", &format!("{url}/healthz")]);
        assert_eq!(health, format!("ok {told} 200"));
        let (certificate, key) = (tools.path("admin.crt"), tools.path("admin.key"));
        let shown = ["--cert", &certificate, "--key", &key, version, "-w", " %{http_code}"];
        let nodes = tools.curl(&[&shown[..], &[&format!("{url}/api/v1/nodes")]].concat());
        holds(&nodes, &["NodeList", " 200"]);
    }
    holds(&tools.curl(&["-i", &format!("{url}/api/v1/nodes")]), &["401", r#""reason":"Unauthorized""#]);
    let big = tools.path("big");
    std::fs::write(&big, vec![b'x'; 4 << 20]).unwrap();
    let (certificate, key) = (tools.path("admin.crt"), tools.path("admin.key"));
    let sent = ["--cert", &certificate, "--key", &key, "-w", " %{http_code}", "--data-binary"];
    let url = format!("{url}/api/v1/namespaces");
    for version in ["--http1.1", "--http2"] {
        let told = tools.curl(&[&sent[..], &[&format!("@{big}"), version, &url]].concat());
        holds(&told, &["Request entity too large", " 413"]);
    }
}

fn openssl_finds_a_sound_server(tools: &Tools) {
    let address = tools.served.address.to_string();
    let authority = tools.path("ca.crt");
    let ask = |more: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address, "-CAfile", &authority]).args(more);
        printed(command.stdin(std::process::Stdio::null()))
    };
    for name in ["localhost", "box", "kubernetes.default.svc"] {
        holds(&ask(&["-verify_hostname", name]), &["TLSv1.3", "Verify return code: 0 (ok)"]);
    }
    holds(&ask(&["-verify_ip", "127.0.0.1", "-tls1_2"]), &["TLSv1.2", "Verify return code: 0 (ok)"]);
    holds(&ask(&["-verify_hostname", "elsewhere"]), &["ostname mismatch"]);
    let old = ask(&["-tls1_1"]);
    assert!(!old.contains("Verify return code: 0 (ok)") || old.contains("alert"), "{old}");
}
