//! Where a node keeps what must survive it.
//!
//! ```text
//! <data>/images/            container images
//!        node/lock          held by the program that is the node
//!             record.json   what it says of itself while it runs
//!             objects/      the API's objects
//!             keys/         certificates and keys
//!             kills/        what the OOM killer did
//!             pool.json     nodes that were added while it ran
//!             control.sock  where it is asked for nodes more or less
//!             admin.kubeconfig
//!             node.log      what a node in the background says
//! ```

use std::path::{Path, PathBuf};

/// The data folder, as a node divides it.
#[derive(Clone, Debug)]
pub(crate) struct DataFolder(PathBuf);

impl DataFolder {
    /// The folder that the command line names, by one name however it was written: what is kept for a node is known by
    /// it. One that cannot be resolved yet is taken as it stands.
    pub(crate) fn new(data: &Path) -> Self {
        let resolved = data.canonicalize().or_else(|_| std::path::absolute(data));
        Self(resolved.unwrap_or_else(|_| data.to_owned()))
    }

    /// All of it.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The node's own part.
    pub(crate) fn node(&self) -> PathBuf {
        self.0.join("node")
    }

    /// Held as long as the node runs.
    pub(crate) fn lock(&self) -> PathBuf {
        self.node().join("lock")
    }

    /// What the running node says of itself.
    pub(crate) fn record(&self) -> PathBuf {
        self.node().join("record.json")
    }

    /// The API's objects.
    pub(crate) fn objects(&self) -> PathBuf {
        self.node().join("objects")
    }

    /// Certificates and keys.
    pub(crate) fn keys(&self) -> PathBuf {
        self.node().join("keys")
    }

    /// What the OOM killer did.
    pub(crate) fn kills(&self) -> PathBuf {
        self.node().join("kills")
    }

    /// How kubectl reaches the node as its administrator.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.node().join("admin.kubeconfig")
    }

    /// The nodes that were added while the program ran.
    pub(crate) fn pool(&self) -> PathBuf {
        self.node().join("pool.json")
    }

    /// Where the program is asked for nodes more or less.
    pub(crate) fn control(&self) -> PathBuf {
        self.node().join("control.sock")
    }

    /// What a node in the background says.
    pub(crate) fn log(&self) -> PathBuf {
        self.node().join("node.log")
    }
}
