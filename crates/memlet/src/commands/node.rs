//! `memlet node`: a whole node, for as long as this program runs.

use std::path::Path;

use anyhow::{Context, Result};

use crate::cli::{AddArguments, NodeArguments, PoolChange, RmArguments};
use crate::exit::Exit;
use crate::node::configuration::Configuration;
use crate::node::control::{self, Request};
use crate::node::folder::DataFolder;
use crate::node::pool::NodeSpec;
use crate::node::{daemon, detach, unit};
use crate::rootless::{self, Needs};
use crate::say;

/// Runs the node to its end, or starts it in the background.
pub(crate) fn run(arguments: &NodeArguments) -> Result<Exit> {
    if let Some(change) = &arguments.change {
        return ask(change);
    }
    let configuration = Configuration::read(arguments)?;
    if arguments.print_unit {
        return print_unit();
    }
    rootless::enter(Needs::Cgroup(configuration.common.cgroups.driver))?;
    if arguments.detach && !detach::is_detached() {
        return detach::start(&configuration.data);
    }
    detach::leave_session();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("the event loop cannot be started")?;
    runtime.block_on(daemon::run(&configuration))
}

/// Asks the program that runs for a node more or less.
fn ask(change: &PoolChange) -> Result<Exit> {
    let (place, request) = match change {
        PoolChange::Add(AddArguments { name, memory, labels, taints, place }) => {
            let labels = labels.iter().cloned().collect();
            let spec = NodeSpec { name: name.clone(), memory: *memory, labels, taints: taints.clone() };
            (place, Request::Add(spec))
        }
        PoolChange::Rm(RmArguments { name, pods, place }) => {
            (place, Request::Remove { name: name.clone(), pods: *pods })
        }
    };
    let said = control::ask(&DataFolder::new(&place.data), &request)?;
    say::note(&format!("{said}\n"));
    Ok(Exit::DONE)
}

/// Two threads serve thousands of requests a second; more cost memory.
const WORKERS: usize = 2;

/// The unit has the same arguments, without those that are not the service's.
fn print_unit() -> Result<Exit> {
    let program = std::env::current_exe().context("this program's own file cannot be found")?;
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--print-unit")
        .map(|argument| absolute_file(&argument))
        .collect();
    let text = unit::text(&program, &arguments);
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())
        .context("cannot write to standard output")?;
    Ok(Exit::DONE)
}

/// A service starts in `/`: files that are here now are named from there.
fn absolute_file(argument: &str) -> String {
    let path = Path::new(argument);
    let here = path.is_relative() && path.exists() && argument.contains(['.', '/']);
    if here {
        std::path::absolute(path).map_or_else(|_| argument.to_owned(), |path| path.display().to_string())
    } else {
        argument.to_owned()
    }
}
