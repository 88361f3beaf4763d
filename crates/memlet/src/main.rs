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
mod node;
mod rootless;
mod run;
mod say;
mod top;
mod view;

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
        Command::Node(arguments) => commands::node::run(&arguments),
        Command::Status(arguments) => commands::status::run(&arguments),
        Command::Stop(arguments) => commands::stop::run(&arguments),
        Command::Kubeconfig(arguments) => commands::kubeconfig::run(&arguments),
        Command::Kubectl(arguments) => commands::kubectl::run(&arguments),
        Command::Ps(arguments) => commands::ps::run(&arguments),
        Command::Top(arguments) => commands::top::run(&arguments),
        Command::Inspect(arguments) => commands::inspect::run(&arguments),
        Command::Explain(arguments) => commands::explain::run(&arguments),
        Command::Image(arguments) => commands::image::run(&arguments),
        Command::Completions(arguments) => commands::reference::completions(&arguments),
        Command::Man(arguments) => commands::reference::man_pages(&arguments),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            say::error(&error);
            node::detach::tell_failure(&error);
            exit::Exit::MISTAKE.into()
        }
    }
}
