//! A client of a node, as its administrator.

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::folder::DataFolder;

/// A client with the node's own kubeconfig.
pub(crate) async fn of(data: &DataFolder) -> Result<kube::Client> {
    let path = data.kubeconfig();
    let kubeconfig =
        Kubeconfig::read_from(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("{} is no kubeconfig", path.display()))?;
    kube::Client::try_from(config).context("the node's kubeconfig makes no client")
}

/// Runs `work` with a client to its end.
pub(crate) fn block_on<T>(data: &DataFolder, work: impl AsyncFnOnce(kube::Client) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the event loop cannot be started")?;
    runtime.block_on(async { work(of(data).await?).await })
}
