//! `memlet`: runs Pods under their memory limits on this machine, and says what happened to them.
//!
//! This file is the table of contents: the hidden supervisor first (it must not pay for anything else), then
//! the command line, then one file per command in [`commands`]. Exit codes are in [`exit`].
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod embedded;
mod exit;
mod explain;
mod manifest;
mod rootless;
mod run;
mod say;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Arguments, Command};

fn main() -> ExitCode {
    if let Some(code) = memlet_runtime::shim::main_if_asked(std::env::args_os()) {
        return code;
    }
    let arguments = Arguments::parse();
    say::start_tracing(arguments.log.as_deref());
    let result = match arguments.command {
        Command::Run(arguments) => commands::run::run(&arguments),
        Command::Explain(arguments) => commands::explain::run(&arguments),
        Command::Image(arguments) => commands::image::run(&arguments),
        Command::Completions(arguments) => commands::reference::completions(&arguments),
        Command::Man(arguments) => commands::reference::man_pages(&arguments),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            say::error(&error);
            exit::Exit::MISTAKE.into()
        }
    }
}
