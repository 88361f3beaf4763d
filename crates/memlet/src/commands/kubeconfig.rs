//! `memlet kubeconfig`: how kubectl reaches the node.

use std::fs;

use anyhow::{Context, Result};

use crate::cli::KubeconfigArguments;
use crate::exit::Exit;
use crate::node::folder::DataFolder;
use crate::node::kubeconfig::merge_into_own;
use crate::say;

/// Prints it, or merges it into the user's own.
pub(crate) fn run(arguments: &KubeconfigArguments) -> Result<Exit> {
    let path = DataFolder::new(&arguments.place.data).kubeconfig();
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read {}: a node writes it at its start (memlet node), for root alone; name another folder with --data",
            path.display()
        )
    })?;
    let said = if arguments.merge {
        format!("the context memlet is in {} and is the current one\n", merge_into_own(&text)?.display())
    } else {
        text
    };
    say::print(&said)?;
    Ok(Exit::DONE)
}
