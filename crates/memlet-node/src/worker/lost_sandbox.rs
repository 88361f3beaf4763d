//! The sandbox has ended and the Pod has not: its pause process was killed, or its supervisor. What is to run again runs
//! in a new sandbox (kubelet's `SandboxChanged`).

use super::{Place, Worker};
use crate::events::Severity;

impl Worker {
    /// Before a container starts: whether its sandbox is none any more, and has been cleared away for a new one.
    pub(super) async fn replace_lost_sandbox(&mut self) -> bool {
        let Some(sandbox) = &self.sandbox else { return true };
        // A sandbox in which nothing has ended yet is as it was made, or the start that fails will tell.
        let something_ended = self.instances.values().any(|facts| facts.is_over());
        if sandbox.is_ready && (!something_ended || self.is_sandbox_alive().await) {
            return false;
        }
        self.give_up_sandbox().await;
        true
    }

    /// Asks the runtime. One that cannot say has not lost it.
    pub(super) async fn is_sandbox_alive(&mut self) -> bool {
        let Some(sandbox) = &mut self.sandbox else { return false };
        match self.node.cri.is_sandbox_ready(&sandbox.id).await {
            Ok(is_ready) => sandbox.is_ready = is_ready,
            Err(error) => tracing::debug!("cannot ask for a sandbox: {error}"),
        }
        sandbox.is_ready
    }

    async fn give_up_sandbox(&mut self) {
        let Some(sandbox) = self.sandbox.clone() else { return };
        let message = "Pod sandbox changed, it will be killed and re-created.";
        self.tell(None, Severity::Normal, "SandboxChanged", message);
        for place in self.places() {
            let Some(id) = self.life(place).running_id().map(str::to_owned) else { continue };
            if let Err(error) = self.node.cri.stop_container(&id, 0).await {
                tracing::warn!("cannot stop a container: {error}");
            }
            self.look(&id).await;
        }
        if let Err(error) = self.node.cri.remove_sandbox(&sandbox.id).await {
            tracing::warn!("cannot remove a sandbox: {error}");
        }
        // The runtime removes containers with their sandbox. How they ended is in their lives.
        for id in std::mem::take(&mut self.instances).into_keys().chain([sandbox.id]) {
            self.node.exits.remove(&id);
            self.node.witness.forget(&id);
        }
        // What they prepared may have been in the sandbox.
        for index in 0..self.init.len() {
            let life = self.life_mut(Place::Init(index));
            life.again = life.ended().is_some_and(|ended| ended.exit_code == 0);
        }
        self.sandbox = None;
    }
}
