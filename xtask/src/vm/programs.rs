//! The programs that run inside: memlet, and every test program that looks at a kernel.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, root, target};

/// The test programs, by the crate and the name of each.
const TESTS: [(&str, &str); 5] = [
    ("memlet-cgroup", "kernel"),
    ("memlet-oomlog", "kernel"),
    ("memlet-runtime", "containers"),
    ("memlet-node", "agent"),
    ("memlet", "end_to_end"),
];

/// What was compiled.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    memlet: PathBuf,
    tests: Vec<(String, PathBuf)>,
}

impl Programs {
    /// Compiles them, as `cargo test` does.
    pub(crate) fn compile() -> Result<Self> {
        let mut tests = Vec::new();
        for (package, name) in TESTS {
            let mut command: Command = cargo(&["test", "--no-run", "--quiet", "--message-format", "json"]);
            command.args(["--workspace", "--test", name]).current_dir(root());
            let compiled = command.stderr(std::process::Stdio::inherit()).output()?;
            ensure!(compiled.status.success(), "the tests of {package} cannot be compiled");
            let text = String::from_utf8_lossy(&compiled.stdout).into_owned();
            let program = text.lines().find_map(|line| executable(line, package, name));
            let program = program
                .with_context(|| format!("cargo names no program for the test {name} of {package}"))?;
            tests.push((format!("{package}:{name}"), program));
        }
        Ok(Self { memlet: target().join("debug/memlet"), tests })
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.memlet).chain(self.tests.iter().map(|(_, path)| path)).map(PathBuf::as_path)
    }

    /// The test program called `memlet-cgroup:kernel` and so on.
    pub(crate) fn test(&self, name: &str) -> Result<&Path> {
        let found = self.tests.iter().find(|(known, _)| known == name);
        found.map(|(_, path)| path.as_path()).with_context(|| format!("there is no test program {name}"))
    }
}

/// The program that a message of cargo's tells of, if it is that of the test.
fn executable(message: &str, package: &str, name: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_it = message["target"]["name"] == name
        && message["target"]["kind"][0] == "test"
        && message["package_id"].as_str()?.contains(&format!("/{package}#"));
    is_it.then(|| message["executable"].as_str().map(PathBuf::from))?
}
