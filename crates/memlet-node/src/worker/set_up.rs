//! What a Pod needs before its first container: its cgroup, its volumes, its sandbox.

use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use k8s_cri::v1::PodSandboxConfig;
use memlet_policy::cgroup_limits;
use memlet_policy::qos::QosClass;

use super::Worker;
use crate::adoption;
use crate::container;
use crate::events::Severity;
use crate::network_files;
use crate::sandbox;
use crate::steady;

/// How long a failed set-up rests before the next try.
const RETRY: Duration = Duration::from_secs(5);

/// A sandbox that runs.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    pub(crate) config: PodSandboxConfig,
    /// The kernel killed its pause process, and that is told.
    pub(crate) killed: bool,
    /// As far as known it holds its namespaces.
    pub(crate) is_ready: bool,
}

impl Worker {
    /// Makes all of it; where that fails, says so in an Event and when to try again.
    pub(super) async fn set_up(&mut self) -> Result<(), Timestamp> {
        let retry_at = || steady::now() + RETRY;
        let class = QosClass::of_pod(&self.pod);
        let limit = cgroup_limits::pod_memory_limit(self.spec(), class);
        let qos = self.node.shape.memory_rules.memory_qos;
        let protection = qos.map(|qos| qos.pod_protection(class, self.spec()));
        if let Err(error) = self.node.cgroups.make_pod(&self.cgroup, limit, protection) {
            let message = format!("unable to ensure pod container exists: {error}");
            self.tell(None, Severity::Warning, "FailedCreatePodContainer", message);
            return Err(retry_at());
        }
        self.enter_pressure();
        if let Err(messages) = self.set_up_volumes().await {
            for message in messages {
                self.tell(None, Severity::Warning, "FailedMount", message);
            }
            return Err(retry_at());
        }
        match self.run_sandbox().await {
            Ok(sandbox) => {
                self.sandbox = Some(sandbox);
                Ok(())
            }
            Err(message) => {
                let message = format!("Failed to create pod sandbox: {message}");
                self.tell(None, Severity::Warning, "FailedCreatePodSandBox", message);
                Err(retry_at())
            }
        }
    }

    async fn set_up_volumes(&mut self) -> Result<(), Vec<String>> {
        let volumes = self.volumes.clone();
        let logs = container::log_directory(&self.node.config.pod_logs, &self.pod);
        let made = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&logs)
                .map_err(|error| format!("cannot make {}: {error}", logs.display()))?;
            volumes.set_up().map_err(|error| error.to_string())
        });
        made.await.map_err(|error| vec![error.to_string()])?.map_err(|message| vec![message])?;
        self.show_projected().await
    }

    /// The sandbox that this Pod is given at this attempt.
    pub(super) fn sandbox_config(&self, attempt: u32) -> PodSandboxConfig {
        let config = &self.node.config;
        let around = sandbox::Surroundings {
            node: &self.node.shape,
            cgroup: &self.cgroup,
            pod_logs: &config.pod_logs,
            agent: &adoption::label(config),
            resolv_conf: &fs::read_to_string(network_files::RESOLV_CONF).unwrap_or_default(),
        };
        sandbox::config(&self.pod, self.spec(), attempt, &around)
    }

    async fn run_sandbox(&mut self) -> Result<Sandbox, String> {
        let attempt = self.sandbox_attempts;
        let config = self.sandbox_config(attempt);
        self.sandbox_attempts += 1;
        match self.node.cri.run_sandbox(config.clone()).await {
            Ok(id) => {
                self.node.witness.register(&id, self.tell_me.clone());
                Ok(Sandbox { id, config, killed: false, is_ready: true })
            }
            Err(error) => {
                self.record_killed_attempts(&error.message).await;
                Err(error.to_string())
            }
        }
    }
}
