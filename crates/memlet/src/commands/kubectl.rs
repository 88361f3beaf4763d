//! `memlet kubectl`: the user's own kubectl, told where the node is.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Error, Result, ensure};

use crate::cli::KubectlArguments;
use crate::exit::Exit;
use crate::node::folder::DataFolder;

/// Becomes kubectl.
pub(crate) fn run(arguments: &KubectlArguments) -> Result<Exit> {
    let kubeconfig = DataFolder::new(&arguments.data).kubeconfig();
    ensure!(
        kubeconfig.exists(),
        "there is no {}: a node writes it at its start (memlet node), for root alone; name another folder with --data",
        kubeconfig.display()
    );
    let error = Command::new("kubectl")
        .args(&arguments.arguments)
        .env("KUBECONFIG", kubeconfig)
        // Before 1.31 exec and attach speak SPDY unless told to use WebSockets, which alone are served.
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "true")
        .exec();
    Err(if error.kind() == io::ErrorKind::NotFound {
        Error::new(error).context("kubectl is not in the PATH; install it, for example from https://kubernetes.io/docs/tasks/tools/")
    } else {
        Error::new(error).context("kubectl cannot be started")
    })
    .context("memlet kubectl runs the kubectl of this machine")
}
