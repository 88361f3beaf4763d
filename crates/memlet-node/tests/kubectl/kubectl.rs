//! kubectl as a user calls it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::image::BUSYBOX;

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert_eq!(self.stdout, text, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn complains(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{self:?}");
        self
    }
}

impl Bench {
    /// The command, with everything of the user's own out of its way.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--foreground", "60", "kubectl", &format!("--server=http://{}", self.address)])
            .args(arguments);
        command.env("HOME", self.folder.path()).env_remove("KUBECONFIG");
        command
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Ran {
        self.kubectl_with(arguments, "")
    }

    /// With this as its standard input.
    pub(crate) fn kubectl_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that reads nothing may have gone.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Creates a Pod on the node; its containers by name and script.
    pub(crate) fn create(&self, name: &str, restart: &str, containers: &[(&str, &str)]) {
        let containers: Vec<Value> = containers
            .iter()
            .map(|(name, script)| {
                json!({
                    "name": name, "image": BUSYBOX, "command": ["sh", "-c", script],
                    "resources": {"limits": {"memory": "32Mi"}},
                })
            })
            .collect();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "nodeName": "node", "restartPolicy": restart, "terminationGracePeriodSeconds": 1,
                "containers": containers,
            },
        });
        self.kubectl_with(&["create", "--validate=false", "-f", "-"], &pod.to_string()).exits(0);
    }

    /// Waits until this JSON path of the Pod has this value.
    pub(crate) fn wait_for(&self, pod: &str, path: &str, value: &str) -> Result<(), Failed> {
        eventually(&format!("{path} of {pod} becomes {value}"), || {
            let ran = self.kubectl(&["get", "pod", pod, "-o", &format!("jsonpath={{{path}}}")]);
            (ran.stdout == value).then_some(())
        })
    }

    pub(crate) fn wait_running(&self, pod: &str) -> Result<(), Failed> {
        self.wait_for(pod, ".status.phase", "Running")
    }
}

pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, Failed> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("it does not happen: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
