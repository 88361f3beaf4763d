//! A client of a node, as its administrator.

use std::time::Duration;

use anyhow::{Context, Result, bail};
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

/// A node answers this at once, or it hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs `work` with a client to its end, if the node answers at all.
pub(crate) fn block_on<T>(data: &DataFolder, work: impl AsyncFnOnce(kube::Client) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the event loop cannot be started")?;
    runtime.block_on(async {
        let client = of(data).await?;
        if tokio::time::timeout(PATIENCE, client.apiserver_version()).await.is_err() {
            bail!(
                "the node in {} does not answer within {} s: it may be stopped, or the machine short of memory or time",
                data.path().display(),
                PATIENCE.as_secs()
            );
        }
        work(client).await
    })
}
