//! Formatting, clippy, spelling and licences: what a reader should never have to remark on.

use std::process::Command;

use anyhow::Result;

use crate::command::{self, cargo};
use crate::tools::{self, Tools};

/// Runs all of them.
pub(crate) fn run_with(tools: &Tools) -> Result<()> {
    command::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    command::run(
        cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
            .env("CLIPPY_CONF_DIR", crate::command::root()),
    )?;
    command::run(&mut Command::new(tools.path("typos")))?;
    // For contributors: private items are documented too, so links to them resolve.
    let doc = &mut cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"))?;
    licences(tools)
}

/// Runs all of them, after installing what they need.
pub(crate) fn run() -> Result<()> {
    run_with(&tools::install()?)
}

/// Every dependency's licence must be one of those in `deny.toml`.
fn licences(tools: &Tools) -> Result<()> {
    command::run(Command::new(tools.path("cargo-deny")).args(["check", "licenses", "bans", "sources"]))
}
