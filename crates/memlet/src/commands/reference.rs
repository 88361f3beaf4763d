//! `memlet completions` and `memlet man`: the command line, written out for shells and for man.

use std::fs;
use std::io;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::cli::{Arguments, CompletionsArguments, ManArguments};
use crate::exit::Exit;

/// Prints a completion script.
pub(crate) fn completions(arguments: &CompletionsArguments) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "memlet", &mut script);
    io::Write::write_all(&mut io::stdout(), &script).context("cannot write to standard output")?;
    Ok(Exit::DONE)
}

/// Writes a page per command.
pub(crate) fn man_pages(arguments: &ManArguments) -> Result<Exit> {
    let folder = &arguments.folder;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    clap_mangen::generate_to(Arguments::command(), folder)
        .with_context(|| format!("cannot write the pages to {}", folder.display()))?;
    Ok(Exit::DONE)
}
