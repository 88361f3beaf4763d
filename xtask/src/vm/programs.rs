//! The test programs, as cargo builds them for ring 2 too, and the program as its users have it: an emulated processor makes
//! much of the difference.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::scenario::Program;
use crate::command::{cargo, output, target};

/// Where they are.
pub(crate) struct Programs {
    tests: Vec<(Program, PathBuf)>,
}

/// Builds them. The whole workspace, so that nothing is compiled again with other features.
pub(crate) fn build() -> Result<Programs> {
    println!("\n$ cargo test --workspace --no-run");
    let arguments = ["test", "--workspace", "--no-run", "--quiet", "--message-format=json"];
    let messages = output(&mut cargo(&arguments))?;
    let built: Vec<Value> = messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let executable = |kind: &str, package: &str, target: &str| {
        let message = built.iter().find(|message| {
            let id = message["package_id"].as_str().unwrap_or_default();
            let of_package = id.contains(&format!("/{package}#"));
            let of_kind = message["target"]["kind"] == serde_json::json!([kind]);
            of_package && of_kind && message["target"]["name"] == target && message["executable"].is_string()
        });
        let path = message.and_then(|message| message["executable"].as_str());
        path.map(PathBuf::from).with_context(|| format!("cargo built no {kind} {target} of {package}"))
    };
    let tests = Program::ALL.into_iter().map(|program| {
        let (package, target) = program.target();
        Ok((program, executable("test", package, target)?))
    });
    let tests = tests.collect::<Result<_>>()?;
    println!("\n$ cargo build --release --package memlet");
    output(&mut cargo(&["build", "--release", "--package", "memlet", "--quiet"]))?;
    Ok(Programs { tests })
}

impl Programs {
    /// Each with the path at which the guests have it. What tests start is where cargo put it when it compiled them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (PathBuf, PathBuf)> {
        let tests = self.tests.iter().map(|(_, path)| (path.clone(), path.clone()));
        let memlet = (target().join("release/memlet"), target().join("debug/memlet"));
        std::iter::once(memlet).chain(tests)
    }

    pub(crate) fn of(&self, program: Program) -> Result<&Path> {
        let found = self.tests.iter().find(|(it, _)| *it == program);
        found.map(|(_, path)| path.as_path()).with_context(|| format!("{} was not built", program.name()))
    }
}
