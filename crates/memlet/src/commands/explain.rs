//! `memlet explain`: every report of the OOM killer in a log, what became of a Pod of this node, or how short of
//! memory a node is, explained.
//!
//! What a report means is `memlet-diagnosis`'s to say, how it is read out of a log `memlet-oomlog`'s; here logs are
//! opened, and what was found is printed.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::cli::ExplainArguments;
use crate::exit::Exit;
use crate::explain::{Session, kernel, node, pod};

/// Reads the logs and answers whether there was anything in them.
pub(crate) fn run(arguments: &ExplainArguments) -> Result<Exit> {
    if let Some(asked) = pod::Asked::of(arguments) {
        return pod::explain(&asked, arguments);
    }
    if let Some(name) = node::asked(arguments) {
        return node::explain(name, arguments);
    }
    let mut session = Session::new(arguments);
    let files = files(arguments)?;
    let told = match &files {
        Some(files) if arguments.follow => session.follow(files),
        Some(files) => session.read(files),
        None => kernel::read(&mut session, arguments.follow),
    };
    session.end(told)
}

/// The logs to read; `None` is the kernel's own.
fn files(arguments: &ExplainArguments) -> Result<Option<Vec<PathBuf>>> {
    let is_kernel = |file: &PathBuf| file == Path::new(memlet_oomlog::kmsg::PATH);
    if arguments.kernel || (arguments.files.len() == 1 && arguments.files.iter().all(is_kernel)) {
        return Ok(None);
    }
    if !arguments.files.is_empty() {
        return Ok(Some(arguments.files.clone()));
    }
    if io::stdin().is_terminal() {
        bail!(
            "no log to read: name a file (memlet explain /var/log/kern.log), pipe one in (dmesg | memlet explain), or \
             read this machine's own with --kernel"
        );
    }
    Ok(Some(vec![PathBuf::from("-")]))
}
