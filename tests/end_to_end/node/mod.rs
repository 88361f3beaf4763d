//! `memlet node`, used as its users do: with kubectl.

mod articles; // what the four articles type
mod daemon; // starting, finding, stopping, dying
mod full; // out of memory as a whole
mod kubectl; // kubectl's commands, one after another
mod pool; // several nodes in one program
mod pressure; // a node short of memory
mod views; // ps, inspect, explain

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;

use crate::Test;
use crate::house::{House, MEMLET, Ran, driver_arguments, finish, patience};

pub(crate) fn tests() -> Vec<Test> {
    let all = [
        daemon::tests(),
        pool::tests(),
        pressure::tests(),
        kubectl::tests(),
        views::tests(),
        articles::tests(),
        full::tests(),
    ];
    all.into_iter().flatten().collect()
}

/// How long something may take that a node does by itself.
const SOON: Duration = Duration::from_secs(30);

/// A node in a house of its own.
pub(crate) struct Node {
    pub(crate) house: House,
    child: Option<Child>,
}

impl Node {
    /// A node that is ready.
    pub(crate) fn start() -> Result<Self, Failed> {
        Self::start_with(&[])
    }

    /// The same, with further arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Result<Self, Failed> {
        let mut node = Self { house: House::new()?, child: None };
        node.start_again(arguments)?;
        Ok(node)
    }

    /// `memlet node` in this house.
    pub(crate) fn command(house: &House, arguments: &[&str]) -> Command {
        let mut command = Command::new(MEMLET);
        command
            .arg("node")
            .args(driver_arguments())
            .args(["--address", "127.0.0.1:0", "--cgroup-root", house.root.as_str(), "--run-folder"])
            .arg(house.folder.path().join("run"))
            .arg("--data")
            .arg(house.folder.path().join("data"))
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts the program in the house where it ran before.
    pub(crate) fn start_again(&mut self, arguments: &[&str]) -> Result<(), Failed> {
        let mut child = Self::command(&self.house, arguments).spawn()?;
        let stderr = child.stderr.take().expect("it is piped");
        let mut said = String::new();
        let mut lines = BufReader::new(stderr).lines();
        for line in lines.by_ref() {
            let line = line?;
            said.push_str(&line);
            said.push('\n');
            if line.starts_with("ready after") {
                // What else it says is read, so that it never waits for a reader.
                std::thread::spawn(move || lines.for_each(drop));
                self.child = Some(child);
                return Ok(());
            }
        }
        Err(format!("the node ended with {} and said:\n{said}", child.wait()?).into())
    }

    /// The program's number.
    pub(crate) fn pid(&self) -> i32 {
        self.child.as_ref().expect("it runs").id().cast_signed()
    }

    /// Kills the program, and nothing else.
    pub(crate) fn kill(&mut self) -> Result<(), Failed> {
        let mut child = self.child.take().expect("it runs");
        let killed = child.kill();
        child.wait()?;
        Ok(killed?)
    }

    /// Another command of memlet's about this node.
    pub(crate) fn memlet(&self, arguments: &[&str]) -> Result<Ran, Failed> {
        memlet(&self.house, arguments)
    }

    /// The user's kubectl against this node.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<Ran, Failed> {
        finish(self.kubectl_command(arguments).spawn()?)
    }

    /// The same, with a manifest for its standard input.
    pub(crate) fn kubectl_stdin(&self, arguments: &[&str], manifest: &str) -> Result<Ran, Failed> {
        let mut child = self.kubectl_command(arguments).stdin(Stdio::piped()).spawn()?;
        std::io::Write::write_all(&mut child.stdin.take().expect("it is piped"), manifest.as_bytes())?;
        finish(child)
    }

    /// kubectl, not started yet. Its caches are this house's.
    pub(crate) fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(arguments)
            .env("KUBECONFIG", self.house.folder.path().join("data/node/admin.kubeconfig"))
            .env("HOME", self.house.folder.path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// An object as JSON.
    pub(crate) fn get(&self, what: &str) -> Result<Value, Failed> {
        let ran = self.kubectl(&["get", what, "-o", "json"])?;
        ran.exits(0);
        ran.json()
    }

    /// Waits until an object is as `wanted`.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, Failed> {
        let deadline = Instant::now() + patience(SOON);
        loop {
            let ran = self.kubectl(&["get", what, "-o", "json"])?;
            let object = if ran.code == Some(0) { ran.json()? } else { Value::Null };
            if wanted(&object) {
                return Ok(object);
            }
            if Instant::now() > deadline {
                return Err(format!("{what} never became as wanted: {object:#}\n{}", ran.stderr).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Creates what a manifest says.
    pub(crate) fn create(&self, manifest: &str) -> Result<(), Failed> {
        self.kubectl_stdin(&["create", "-f", "-"], manifest)?.exits(0);
        Ok(())
    }

    /// Ends the node and its Pods; nothing is left then but what is in its data folder.
    pub(crate) fn end(mut self) -> Result<(), Failed> {
        self.memlet(&["stop", "--pods"])?.exits(0);
        if let Some(mut child) = self.child.take() {
            let status = child.wait()?;
            assert!(status.success(), "the node ended with {status}");
        }
        self.house.nothing_is_left()
    }
}

/// A command of memlet's about the node of a house.
pub(crate) fn memlet(house: &House, arguments: &[&str]) -> Result<Ran, Failed> {
    let mut command = Command::new(MEMLET);
    command
        .args(arguments)
        .arg("--data")
        .arg(house.folder.path().join("data"))
        .env("HOME", house.folder.path())
        .env("NO_COLOR", "1")
        .env_remove("KUBECONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    finish(command.spawn()?)
}

/// A Pod of one memory eater that stays as it is.
pub(crate) fn holder(name: &str, limit: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n  \
         - name: main\n    image: memlet.dev/memory-eater\n    args: ['8', '0', '--hold']\n    resources: {{limits: {{memory: \
         {limit}}}}}\n"
    )
}

/// Whether the Pod runs.
pub(crate) fn is_running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
}

/// The first container's state or last state, whichever says that it ended.
pub(crate) fn ended(pod: &Value) -> Option<&Value> {
    let status = &pod["status"]["containerStatuses"][0];
    [&status["state"]["terminated"], &status["lastState"]["terminated"]]
        .into_iter()
        .find(|ended| ended.is_object())
}
