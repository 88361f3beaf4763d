//! `memlet stop`: ends the node, and its Pods where asked.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::cli::StopArguments;
use crate::embedded;
use crate::exit::Exit;
use crate::node::folder::DataFolder;
use crate::node::running::{self, Found, Stop};
use crate::say;

/// The program alone ends at once; it writes to disk first.
const PROGRAM_PATIENCE: Duration = Duration::from_secs(20);

/// Pods have grace periods; somebody who chose one of hours does not wait here for it.
const PODS_PATIENCE: Duration = Duration::from_mins(10);

/// Ends what runs.
pub(crate) fn run(arguments: &StopArguments) -> Result<Exit> {
    let data = DataFolder::new(&arguments.place.data);
    let (how, patience) =
        if arguments.pods { (Stop::WithPods, PODS_PATIENCE) } else { (Stop::Program, PROGRAM_PATIENCE) };
    match running::find(&data)? {
        Found::Running(node) => {
            running::stop(&data, &node, how, patience)?;
            let have = if node.members.len() > 1 { "have" } else { "has" };
            say::note(&format!("the {} {have} ended (process {})\n", node.title(), node.pid));
        }
        Found::Busy => bail!("the node is starting or ending; try again in a moment"),
        Found::Stopped(Some(node)) if arguments.pods => {
            if embedded::end_leftovers(&data, &node)? {
                say::note(&format!("the Pods of the {}, which did not run, have ended\n", node.title()));
            } else {
                say::note(&format!("no node runs in {}, and none of its Pods\n", data.path().display()));
            }
        }
        Found::Stopped(_) => say::note(&format!("no node runs in {}\n", data.path().display())),
    }
    Ok(Exit::DONE)
}
