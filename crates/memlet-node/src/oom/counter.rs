//! The cgroup's own count of kills, where the kernel's log cannot be read.
//!
//! A watch on the container's cgroup says when to look; the count says whether a process was lost. It cannot
//! say which.

use std::os::fd::OwnedFd;

use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy, OomWatch};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::readable;
use crate::worker::News;

/// Watches one container until it is dropped.
#[derive(Debug)]
pub(crate) struct KillWatch(AbortHandle);

impl Drop for KillWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl KillWatch {
    /// Tells `worker` whenever the count may have risen.
    ///
    /// # Errors
    /// Where the cgroup is gone or cannot be watched.
    pub(crate) fn start(
        hierarchy: &Hierarchy,
        path: &CgroupPath,
        container_id: String,
        worker: mpsc::UnboundedSender<News>,
    ) -> Result<Self, memlet_cgroup::Error> {
        let watch = Cgroup::open(hierarchy, path)?.watch_oom()?;
        let task = tokio::spawn(async move {
            match readable::watch(&watch) {
                Ok(readable) => follow(&readable, &watch, &container_id, &worker).await,
                Err(error) => tracing::warn!("cannot watch a cgroup: {error}"),
            }
        });
        Ok(Self(task.abort_handle()))
    }
}

async fn follow(
    readable: &AsyncFd<OwnedFd>,
    watch: &OomWatch,
    container_id: &str,
    worker: &mpsc::UnboundedSender<News>,
) {
    while let Ok(mut ready) = readable.readable().await {
        ready.clear_ready();
        let heard = watch.drain().unwrap_or(0);
        if heard > 0 && worker.send(News::KillCounted(container_id.to_owned())).is_err() {
            return;
        }
    }
}
